"""Weights files come back exactly, and anything else is refused in words."""

import os
import sys
import types

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import registry
from motion_lab.errors import MotionLabError, UsageError
from motion_lab.models import weights


class Lines(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)


class BaseModel(Lines):
    def __init__(self, width: int = 3) -> None:
        super().__init__(width)
        self.motion_encoder = nn.Linear(width, width)


class MotionModel(Lines):
    pass


@pytest.fixture
def models(monkeypatch):
    """Stand-ins for the real models, which are large and tested elsewhere."""
    for name, model in (("base_model", BaseModel), ("motion_model", MotionModel)):
        module = types.ModuleType(f"motion_lab.models.{name}")
        setattr(module, model.__name__, model)
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture
def checkpoint(tmp_path, models):
    folder = tmp_path / "checkpoint"
    base, motion = BaseModel(width=4), MotionModel(width=5)
    weights.save_weights(folder / "base.safetensors", base, {"model": {"width": 4}})
    weights.save_weights(
        folder / "motion.safetensors",
        motion,
        {"model": {"width": 5}},
        motion_features=weights.motion_fingerprint(folder),
    )
    return folder, base, motion


def test_weights_configuration_and_facts_come_back(tmp_path):
    module = Lines()
    config = {"model": {"width": 3, "spec": {"name": "x", "list": [1, 2.5, None]}}}
    weights.save_weights(tmp_path / "new" / "w.safetensors", module, config, steps="7")
    state, read, facts = weights.load_weights(tmp_path / "new" / "w.safetensors")
    assert read == config
    assert facts == {"steps": "7", "model": "Lines"}
    assert state.keys() == module.state_dict().keys()
    for name, value in module.state_dict().items():
        assert torch.equal(state[name], value)


def test_tied_and_non_contiguous_parameters_are_saved(tmp_path):
    module = nn.Module()
    module.a = nn.Parameter(torch.randn(2, 3).t())
    module.b = module.a
    weights.save_weights(tmp_path / "w.safetensors", module, {})
    state, _, _ = weights.load_weights(tmp_path / "w.safetensors")
    assert torch.equal(state["a"], module.a)
    assert torch.equal(state["b"], module.a)


def test_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    weights.save_weights(path, Lines(), {"run": 1})
    before = path.read_bytes()

    def full(tensors, target, facts):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        weights.save_weights(path, Lines(), {"run": 2})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_both_models_load_ready_for_use(checkpoint):
    folder, base, motion = checkpoint
    for model, load in ((base, weights.load_base_model), (motion, weights.load_motion_model)):
        loaded = load(folder)
        assert not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())
        assert torch.equal(loaded.layer.weight, model.layer.weight)


def test_motion_stays_valid_while_the_motion_encoder_is_the_same(checkpoint):
    folder, base, _ = checkpoint
    nn.init.normal_(base.layer.weight)
    weights.save_weights(folder / "base.safetensors", base, {"model": {"width": 4}}, steps="2")
    weights.load_motion_model(folder)
    nn.init.normal_(base.motion_encoder.bias)
    weights.save_weights(folder / "base.safetensors", base, {"model": {"width": 4}})
    with pytest.raises(MotionLabError, match="features of another"):
        weights.load_motion_model(folder)


def test_the_motion_features_are_of_the_encoders_settings_too(checkpoint):
    folder, base, _ = checkpoint
    prints = set()
    for size in (64, 128):
        config = {"model": {"width": 4, "motion_encoder": {"name": "deviation", "view_size": size}}}
        weights.save_weights(folder / "base.safetensors", base, config)
        prints.add(weights.motion_fingerprint(folder))
    assert len(prints) == 2


def test_motion_of_another_base_is_refused(checkpoint):
    folder, _, _ = checkpoint
    weights.save_weights(folder / "base.safetensors", BaseModel(4), {"model": {"width": 4}})
    with pytest.raises(MotionLabError, match="features of another"):
        weights.load_motion_model(folder)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_file_is_refused(checkpoint, keep):
    path = checkpoint[0] / "base.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(MotionLabError, match="truncated") as refused:
        weights.load_base_model(checkpoint[0])
    assert refused.value.exit_code == 1


def test_foreign_file_is_refused(tmp_path, models):
    save_file({"a": torch.ones(1)}, tmp_path / "base.safetensors")
    with pytest.raises(MotionLabError, match="no Motion Lab configuration"):
        weights.load_base_model(tmp_path)


def test_wrong_model_in_the_file_is_refused(checkpoint):
    folder, _, motion = checkpoint
    weights.save_weights(folder / "base.safetensors", motion, {"model": {"width": 5}})
    with pytest.raises(MotionLabError, match="holds a MotionModel, where a BaseModel belongs"):
        weights.load_base_model(folder)


def test_tensors_that_do_not_fit_are_refused(checkpoint):
    folder, base, _ = checkpoint
    weights.save_weights(folder / "base.safetensors", base, {"model": {"width": 9}})
    with pytest.raises(MotionLabError, match="does not fit the model"):
        weights.load_base_model(folder)


@pytest.mark.parametrize("config", [{}, {"model": {"breadth": 4}}])
def test_configuration_that_builds_no_model_is_refused(checkpoint, config):
    folder, base, _ = checkpoint
    weights.save_weights(folder / "base.safetensors", base, config)
    with pytest.raises(MotionLabError, match="does not fit the model"):
        weights.load_base_model(folder)


def test_missing_plugin_is_named(checkpoint, monkeypatch):
    folder, _, _ = checkpoint

    class BaseModel(Lines):
        def __init__(self, width: int) -> None:
            registry.ENCODERS.build("from_a_plugin")

    monkeypatch.setattr(sys.modules["motion_lab.models.base_model"], "BaseModel", BaseModel)
    with pytest.raises(MotionLabError, match=r"'from_a_plugin'.*--plugin"):
        weights.load_base_model(folder)


def test_missing_checkpoints_are_wrong_use(tmp_path, models, monkeypatch):
    monkeypatch.setattr(weights, "CHECKPOINTS", tmp_path / "shipped")
    (tmp_path / "shipped" / "small").mkdir(parents=True)
    (tmp_path / "shipped" / "small" / "base.safetensors").touch()
    assert weights.resolve_checkpoint("small") == tmp_path / "shipped" / "small"
    assert weights.resolve_checkpoint(tmp_path) == tmp_path
    with pytest.raises(UsageError, match="mean 'small'"):
        weights.resolve_checkpoint("smal")
    with pytest.raises(UsageError, match="is a file"):
        weights.resolve_checkpoint(tmp_path / "shipped" / "small" / "base.safetensors")
    with pytest.raises(UsageError, match="no such weights file"):
        weights.load_base_model(tmp_path)
