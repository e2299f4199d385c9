"""Training of the lab networks, on handfuls of pictures."""

import numpy as np
import pytest
import torch

from motion_lab import cli
from motion_lab.configs.loading import load_config, presets
from motion_lab.errors import UsageError
from motion_lab.evaluation.lab.weights import NAMES, load_network, save_half, weights_file
from motion_lab.models.weights import save_weights
from motion_lab.training.augment import random_framing
from motion_lab.training.lab.banks import build_people
from motion_lab.training.lab.face import area_under_roc
from motion_lab.training.lab.tasks import make_lab_task

FEW = ["people=5", "pictures=3", "held_out_people=4", "clips=3", "held_out_clips=2", "frames=60"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


def make(name, folder):
    if name == "video" and not weights_file("features").exists():
        pytest.skip("NO FEATURES SHIP WITH THIS TREE: the training of video did not run")
    few = [f"data.{setting}" for setting in FEW]
    config = load_config("lab", name, [*few, f"data.folder={folder}", "training.batch_size=3"])
    torch.manual_seed(0)
    return config, make_lab_task(config, torch.device("cpu"))


def test_every_network_has_a_preset():
    assert sorted(NAMES) == sorted(presets("lab"))


@pytest.mark.parametrize("name", NAMES)
def test_training_lowers_the_loss_of_a_batch_and_scores_are_finite(name, folder):
    _, task = make(name, folder)
    batch = task.batch(7)
    for key, value in task.batch(7).items():
        assert torch.equal(value, batch[key]), "a batch follows from its step alone"
    parameters = [p for module in task.modules().values() for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, 2e-3)
    losses = []
    for step in range(12):
        torch.manual_seed(0)
        loss, _ = task.loss(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    for module in task.modules().values():
        module.eval()
    scores = task.validate()
    assert scores
    assert all(np.isfinite(value) for value in scores.values())


def test_shipped_weights_are_half_as_large_and_give_the_same_within_their_precision(
    folder, tmp_path
):
    config, task = make("face", folder)
    whole, half = tmp_path / "lab.safetensors", tmp_path / "face.safetensors"
    save_weights(whole, task.model, {"model": config.model}, steps="0")
    save_half("face", whole, half)
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    frames = torch.randint(256, (2, 3, 80, 80), dtype=torch.uint8)
    made, kept = task.model.eval().embed(frames), load_network("face", path=half).embed(frames)
    torch.testing.assert_close(kept, made, atol=2e-3, rtol=0)


def test_losses_that_the_network_does_not_have_are_refused(folder):
    config = load_config("lab", "face", ["training.losses={pixels: 1}", f"data.folder={folder}"])
    with pytest.raises(UsageError, match=r"training\.losses must weigh contrast"):
        make_lab_task(config, torch.device("cpu"))


def test_a_network_that_does_not_exist_is_refused(folder):
    config = load_config("lab", "face", ["model.network=taste", f"data.folder={folder}"])
    with pytest.raises(UsageError, match="there is no 'taste'; there are landmarks"):
        make_lab_task(config, torch.device("cpu"))


def test_a_bank_is_continued_and_refuses_other_settings(tmp_path):
    whole = build_people(tmp_path / "whole", 3, 2, 32, seed=4)
    build_people(tmp_path / "part", 3, 2, 32, seed=4)
    state = tmp_path / "part" / "bank.json"
    state.write_text(state.read_text().replace('"done": 3', '"done": 1'))
    np.load(tmp_path / "part" / "frames.npy", mmap_mode="r+")[1:] = 0
    resumed = build_people(tmp_path / "part", 3, 2, 32, seed=4)
    assert np.array_equal(resumed.frames, whole.frames)
    with pytest.raises(UsageError, match="holds a bank made with"):
        build_people(tmp_path / "part", 3, 2, 32, seed=5)


def test_points_follow_a_picture_that_is_reframed():
    """A white dot ends where its point does."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[70:73, 40:43] = 255
    point = np.array([[41.5, 71.5]]) / 128
    for seed in range(5):
        framing = random_framing(np.random.default_rng(seed))
        out = framing.picture(image, 96)[..., 0].astype(float)
        y, x = (np.indices(out.shape) + 0.5).reshape(2, -1) @ out.ravel() / out.sum()
        assert framing.points(point)[0] * 96 == pytest.approx([x, y], abs=0.2)


def test_area_under_roc_of_a_case_by_hand():
    # Of 6 pairs the positive one is above in 4 and equal in one.
    assert area_under_roc(torch.tensor([3.0, 2.0]), torch.tensor([1.0, 2.0, 2.5])) == pytest.approx(
        4.5 / 6
    )


def motion_lab(*arguments) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code)


def test_the_command_trains_stops_and_goes_on(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = [f"data.{setting}" for setting in FEW]
    short = ["training.steps=2", "training.batch_size=3", f"data.folder={folder}"]
    assert motion_lab("train", "lab", "face", *few, *short) == 0
    run = tmp_path / "runs" / "lab-face"
    assert load_network("face", path=run / "face.safetensors").embedding == 128
    assert motion_lab("train", "lab", "--resume", "-o", run, "training.steps=3") == 0
    assert motion_lab("train", "lab", "training.steps=3") == 2
    assert "name a network" in capsys.readouterr().err
