"""The conformance checks catch the faults they are for."""

import pytest
import torch
from torch import nn

from motion_lab.conformance import Subject, check_component, checks_for
from motion_lab.errors import UsageError
from registry import BACKBONES, EXTRACTORS, RegistryError


class Good(nn.Module):
    """An extractor without fault: a convolution over two frames on either side."""

    window: int | None = 2

    def __init__(self, features: int = 8, context: int = 5) -> None:
        super().__init__()
        self.context = context
        self.mix = nn.Conv1d(features, context, 5, padding=2)

    def forward(self, features):
        return self.mix(features.transpose(1, 2)).transpose(1, 2)


class WrongShape(Good):
    def forward(self, features):
        return super().forward(features)[:, 1:]


class WrongType(Good):
    def forward(self, features):
        return super().forward(features).double()


class NotFinite(Good):
    def forward(self, features):
        return super().forward(features) / 0


class DeadParameter(Good):
    def __init__(self, features: int = 8) -> None:
        super().__init__(features)
        self.unused = nn.Linear(2, 2)


class MixesBatch(Good):
    def forward(self, features):
        return super().forward(features - features.mean(0))


class Random(Good):
    calls = 0

    def forward(self, features):
        Random.calls += 1
        return super().forward(features) + Random.calls


class HiddenState(Good):
    """Keeps a random matrix that is neither parameter nor buffer."""

    def __init__(self, features: int = 8) -> None:
        super().__init__(features)
        self.matrix = torch.randn(self.context, self.context)

    def forward(self, features):
        return super().forward(features) @ self.matrix


class InPlace(Good):
    def forward(self, features):
        return super().forward(features.mul_(2))


class SeesTooFar(Good):
    window = 1


class ChangesWhenCompiled(Good):
    def forward(self, features):
        if torch.compiler.is_compiling():
            return super().forward(features) + 1
        return super().forward(features)


class Crashes(Good):
    def forward(self, features):
        if not self.training and len(features) == 1:
            raise ZeroDivisionError("one item is too few")
        return super().forward(features)


FAULTS = [
    (WrongShape, "shapes"),
    (NotFinite, "shapes"),
    (Crashes, "shapes"),
    (WrongType, "dtypes"),
    (DeadParameter, "gradients"),
    (MixesBatch, "batch_independence"),
    (Random, "determinism"),
    (HiddenState, "save_and_load"),
    (InPlace, "inputs_untouched"),
    (SeesTooFar, "window"),
    (ChangesWhenCompiled, "compilation"),
]


@pytest.fixture
def registered():
    """Register a class as `under_test` for the length of a test."""
    used = []

    def register(component, registry=EXTRACTORS):
        registry.register("under_test")(component)
        used.append(registry)
        return "under_test"

    yield register
    for registry in used:
        registry.remove("under_test")


def failed(kind, name):
    return {
        result.check: result.message for result in check_component(kind, name) if result.message
    }


def test_component_without_fault_passes_all(registered):
    assert failed("extractors", registered(Good)) == {}


@pytest.mark.parametrize(("fault", "check"), FAULTS, ids=lambda x: getattr(x, "__name__", x))
def test_fault_is_caught_by_its_check(registered, fault, check):
    name = registered(fault)
    functions = {function.__name__: function for function in checks_for("extractors")}
    with pytest.raises((AssertionError, ZeroDivisionError)):
        functions[check](Subject("extractors", name))


def test_gradient_check_names_the_parameters(registered):
    messages = failed("extractors", registered(DeadParameter))
    assert messages == {"gradients": "no gradient reaches unused.weight, unused.bias"}


def test_error_of_the_component_is_a_failed_check(registered):
    assert "ZeroDivisionError: one item" in failed("extractors", registered(Crashes))["shapes"]


def test_denoiser_that_ignores_the_audio_is_caught(registered):
    class Deaf(nn.Module):
        def __init__(self, motion_size=1, context=1, source_size=1, previous=1, window=1) -> None:
            super().__init__()
            self.source = nn.Linear(source_size, motion_size)
            self.past = nn.Linear(motion_size, motion_size)

        def forward(self, noisy, t, audio, source, past):
            known = self.source(source) + self.past(past).mean(1) + t[:, None] / 1000
            return noisy + known.unsqueeze(1)

    name = registered(Deaf, BACKBONES)
    assert failed("backbones", name) == {"conditions": "'audio' makes no difference"}


def test_settings_of_the_spec_are_used_and_checked(registered):
    name = registered(Good)
    assert Subject("extractors", {"name": name, "context": 3}).build().context == 3
    with pytest.raises(RegistryError, match="'contxt'"):
        check_component("extractors", {"name": name, "contxt": 3})


def test_kind_without_checks_is_refused():
    with pytest.raises(UsageError, match="no conformance checks for 'op_backends'"):
        Subject("op_backends", "native")
