"""The checks of metrics and datasets catch the faults they are for."""

import numpy as np
import pytest

from motion_lab.conformance import check_component, conformance_tests
from motion_lab.errors import UsageError
from motion_lab.training.motion_data import Clip, MotionClips
from registry import DATASETS, METRICS


class Good:
    """A metric without fault: the mean absolute error, over clips."""

    scores = {"error": "lower"}  # noqa: RUF012
    needs = frozenset({"pair"})

    def __init__(self, device="cpu"):
        self.found = []

    def protocol(self):
        return {"input": "bytes"}

    def add(self, generated, reference):
        self.found.append((generated.frames.float() - reference.frames.float()).abs().mean().item())

    def compute(self):
        if not self.found:
            raise UsageError("there are no clips")
        return {"error": float(np.mean(self.found)), "clips": len(self.found)}


class UnknownDirection(Good):
    scores = {"error": "smaller"}  # noqa: RUF012


class UnknownNeed(Good):
    needs = frozenset({"pairs"})


class NoJson(Good):
    def protocol(self):
        return {"input": np.zeros(2)}


class ProtocolOfTheMoment(Good):
    count = 0

    def protocol(self):
        ProtocolOfTheMoment.count += 1
        return {"count": self.count}


class LacksAScore(Good):
    scores = {"error": "lower", "other": "lower"}  # noqa: RUF012


class NotFinite(Good):
    def compute(self):
        return super().compute() | {"error": float("nan")}


class CountsInFractions(Good):
    def compute(self):
        return super().compute() | {"clips": 0.5}


class LastClipAlone(Good):
    def compute(self):
        return super().compute() | {"error": self.found[-1]}


class InPlace(Good):
    def add(self, generated, reference):
        super().add(generated, reference)
        generated.frames.add_(1)


class WrongWay(Good):
    scores = {"error": "higher"}  # noqa: RUF012


class ScoresNothing(Good):
    def compute(self):
        return {"error": 0.0}


METRIC_FAULTS = {
    UnknownDirection: "declarations",
    UnknownNeed: "declarations",
    NoJson: "declarations",
    ProtocolOfTheMoment: "declarations",
    LacksAScore: "results",
    NotFinite: "results",
    CountsInFractions: "results",
    LastClipAlone: "repeatability",
    InPlace: "repeatability",
    WrongWay: "truth",
    ScoresNothing: "emptiness",
}


def clips(base, folder, seed=0, **changes):
    rng = np.random.default_rng(seed)

    def clip():
        return Clip(
            rng.uniform(-1, 1, 640 * 5).astype(np.float32),
            rng.normal(size=(5, base.motion_size)).astype(np.float32),
            rng.normal(size=base.motion_size).astype(np.float32),
            rng.random(5).astype(np.float32),
        )._replace(**changes)

    return MotionClips([clip(), clip()], [clip()])


calls = iter(range(100))


def in_float64(base, folder):
    return clips(base, folder, source=np.zeros(base.motion_size))


def too_short(base, folder):
    return clips(base, folder, wave=np.zeros(640, np.float32))


def too_loud(base, folder):
    return clips(base, folder, wave=np.full(640 * 5, 2, np.float32))


def none_held_out(base, folder):
    return clips(base, folder)._replace(held_out=[])


def another_at_every_call(base, folder):
    return clips(base, folder, seed=next(calls))


def forgetful_of_its_folder(base, folder):
    made = folder / "made"
    seed = 1 if made.exists() else 0
    made.touch()
    return clips(base, folder, seed)


def trained_on_what_is_held_out(base, folder):
    made = clips(base, folder)
    return made._replace(held_out=made.train[:1])


DATASET_FAULTS = {
    in_float64: "clips",
    too_short: "clips",
    too_loud: "clips",
    none_held_out: "clips",
    another_at_every_call: "repeatability",
    forgetful_of_its_folder: "repeatability",
    trained_on_what_is_held_out: "held_out",
}


@pytest.fixture
def failed():
    """Register a component for the length of a test; the names of the checks that it fails."""
    used = []

    def run(registry, component):
        registry.register("under_test")(component)
        used.append(registry)
        return {
            r.check: r.message for r in check_component(registry.kind, "under_test") if r.message
        }

    yield run
    for registry in used:
        registry.remove("under_test")


def test_a_metric_and_a_dataset_without_fault_pass_all(failed):
    assert failed(METRICS, Good) == {}
    assert failed(DATASETS, clips) == {}


@pytest.mark.parametrize(("fault", "check"), METRIC_FAULTS.items())
def test_a_fault_of_a_metric_is_caught_by_its_check(failed, fault, check):
    assert check in failed(METRICS, fault)


@pytest.mark.parametrize(("fault", "check"), DATASET_FAULTS.items())
def test_a_fault_of_a_dataset_is_caught_by_its_check(failed, fault, check):
    assert check in failed(DATASETS, fault)


test_two_lines_are_enough_for_a_plugin = conformance_tests("extractors", "none", width=6)
