"""`motion-lab train`: folders, configurations and exit codes."""

import importlib.util
from pathlib import Path

import pytest

from motion_lab import cli
from motion_lab.configs.loading import load_config
from motion_lab.models.weights import load_weights
from motion_lab.training import run as runs

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
assert _spec is not None
assert _spec.loader is not None
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

CONFIG = """
model: {image_size: 8, working_size: 8, motion_size: 2, encoder: a, depth: b, motion_encoder: c,
        motion_decoder: d, renderer: e}
data: {folder: here, groups: 1, held_out_groups: 1, size: 8, cross_identity: 0}
training: {steps: 8, batch_size: 2, log_every: 2, picture_every: 100}
"""


@pytest.fixture(autouse=True)
def _toy_task(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "make_task", lambda config, device: toy.ToyTask())
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(CONFIG)


def motion_lab(*arguments) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code)


def test_run_keeps_its_whole_configuration_and_can_be_lengthened(capsys):
    assert motion_lab("train", "base", "--config", "mine.yaml", "training.seed=3") == 0
    folder = Path("runs/base-mine")
    assert load_config("base", folder / "config.yaml").training.seed == 3
    assert motion_lab("train", "base", "-o", folder, "--resume") == 2
    assert "already at step 8" in " ".join(capsys.readouterr().err.split())
    assert motion_lab("train", "base", "-o", folder, "--resume", "training.steps=12") == 0
    _, config, facts = load_weights(folder / "base.safetensors")
    assert facts["steps"] == "12"
    assert config["training"]["seed"] == 3
    assert config["training"]["steps"] == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "absent.yaml"], "no such configuration file"),
        (["--config", "mine.yaml", "training.stepz=3"], "training.stepz"),
        (["--config", "mine.yaml", "--plugin", "absent.py"], "no such Python file"),
        (["--config", "mine.yaml", "--device", "abacus"], "abacus"),
        (["--resume"], "nothing to resume"),
        (["--resume", "--config", "mine.yaml"], "leave --config out"),
    ],
)
def test_wrong_use_exits_with_2_and_makes_no_folder(capsys, arguments, message):
    assert motion_lab("train", "base", "-o", "new", *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("new").exists()


def test_run_does_not_overwrite_another(capsys):
    assert motion_lab("train", "base", "--config", "mine.yaml", "-o", "first") == 0
    before = Path("first/state.safetensors").read_bytes()
    assert motion_lab("train", "base", "--config", "mine.yaml", "-o", "first") == 2
    assert "already holds a run" in " ".join(capsys.readouterr().err.split())
    assert Path("first/state.safetensors").read_bytes() == before


def test_plugin_is_loaded_before_training():
    Path("lab_plugin_for_run.py").write_text("from pathlib import Path; Path('ran').touch()")
    assert motion_lab("train", "base", "--config", "mine.yaml", "--plugin",
                      "lab_plugin_for_run.py") == 0  # fmt: skip
    assert Path("ran").exists()


MOTION = """
model: {motion_size: 2, frontend: a, extractors: [b], backbone: c, window: 4, sampler: d,
        guidance: 1, steps: 2}
data: {base: first, folder: here, dataset: heads}
training: {steps: 8, batch_size: 2}
"""


def test_motion_run_holds_a_whole_checkpoint(capsys):
    Path("motion.yaml").write_text(MOTION)
    Path("first").mkdir()
    assert motion_lab("train", "motion", "--config", "motion.yaml", "-o", "run") == 2
    assert "train stage 1 first" in " ".join(capsys.readouterr().err.split())
    Path("first/base.safetensors").write_bytes(b"the first base model")
    assert motion_lab("train", "motion", "--config", "motion.yaml", "-o", "run") == 0
    assert Path("run/base.safetensors").read_bytes() == b"the first base model"
    assert Path("run/motion.safetensors").exists()
    Path("first/base.safetensors").write_bytes(b"trained again")
    assert motion_lab("train", "motion", "-o", "run", "--resume", "training.steps=9") == 2
    assert "another base model" in " ".join(capsys.readouterr().err.split())
    arguments = ["train", "motion", "-o", "run", "--resume", "training.steps=9", "data.base=run"]
    assert motion_lab(*arguments) == 0
