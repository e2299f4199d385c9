"""Stills moved by smooth warps: the displacement is the true one, and nothing else is believed."""

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from motion_lab.configs.loading import load_config
from motion_lab.data.synthetic.pairs import build_pairs
from motion_lab.errors import UsageError
from motion_lab.training.base import BaseTask
from motion_lab.training.stills import load_stills, mix_in_stills, smooth_warps

SIZE = 64


def pairs(count):
    return {
        "source": torch.zeros(count, 3, SIZE, SIZE),
        "target": torch.zeros(count, 3, SIZE, SIZE),
        "driver": torch.zeros(count, 3, SIZE, SIZE),
        "regions": torch.zeros(count, 64, 64, dtype=torch.uint8),
        "displacement": torch.zeros(count, 64, 64, 2),
        "visible": torch.zeros(count, 64, 64),
        "known": torch.ones(count, dtype=torch.bool),
    }


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stills")
    Image.fromarray(skimage.data.astronaut()).save(folder / "b.PNG")
    Image.fromarray(skimage.data.astronaut()[:, ::-1]).save(folder / "a.jpg")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_colours_that_are_coordinates_tell_where_each_pixel_came_from():
    """Of red that is x and green that is y, the driving frame's colours are the displacement."""
    centres = (np.arange(SIZE) + 0.5) / SIZE
    still = np.zeros((SIZE, SIZE, 3))
    still[..., 0], still[..., 1] = np.meshgrid(centres, centres)
    batch = pairs(40)
    mix_in_stills(
        batch, (still * 255)[None].round().astype(np.uint8), np.random.default_rng(0), 0.5
    )
    moved = ~batch["known"]
    assert not moved[0]
    assert 10 < moved.sum() < 30
    assert not batch["target"][~moved].any()
    for index in moved.nonzero()[:, 0]:
        mirrored = batch["source"][index, 0, 0, 0] > 0.5
        came_from = batch["target"][index, :2].movedim(0, -1) * 2 - 1
        if mirrored:
            came_from[..., 0] *= -1
        at = torch.from_numpy(np.stack(np.meshgrid(centres, centres), -1) * 2 - 1)
        inside = (batch["visible"][index] > 0) & (came_from.abs().amax(-1) < 0.96)
        assert inside.float().mean() > 0.5
        error = (came_from - at - batch["displacement"][index]).abs().amax(-1)
        assert error[inside].max() < 0.02  # half a pixel; colours have steps of 0.008
        leaves = (at + batch["displacement"][index]).abs().amax(-1) > 1
        assert torch.equal(leaves, batch["visible"][index] == 0)


def test_warps_are_of_every_kind_and_never_fold():
    fields = smooth_warps(np.random.default_rng(1), 300, 32).astype(np.float64)
    step = 2 / 32
    along_x, along_y = np.gradient(fields, step, axis=2), np.gradient(fields, step, axis=1)
    area = (1 + along_x[..., 0]) * (1 + along_y[..., 1]) - along_x[..., 1] * along_y[..., 0]
    assert area.min() > 0.05
    assert 0.05 < np.abs(fields.mean((1, 2))).mean() < 0.3  # shifts
    turn = (along_x[..., 1] - along_y[..., 0]).mean((1, 2)) / 2
    assert 0.05 < turn.std() < 0.3
    bent = along_x[..., 0].std((1, 2))
    assert bent.min() > 0.01


def test_faces_are_found_in_the_order_of_their_names(portraits):
    stills = load_stills(portraits, SIZE)
    assert stills.shape == (2, SIZE, SIZE, 3)
    mirror = stills[0, :, ::-1].astype(int)
    assert np.abs(mirror - stills[1]).mean() < 12  # as well as the crops agree


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (None, None, "no folder"),
        ("a.txt", b"words", "no .jpg"),
        ("a.png", b"words", "a.png"),
    ],
)
def test_a_folder_without_faces_is_refused(tmp_path, name, content, says):
    folder = tmp_path / "stills"
    if name:
        folder.mkdir()
        (folder / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"data.stills.*{says}"):
        load_stills(folder, SIZE)


def test_what_is_not_known_of_a_still_teaches_nothing(tmp_path, portraits):
    build_pairs(tmp_path / "train", 2, SIZE, 0)
    build_pairs(tmp_path / "held_out", 1, SIZE, 1)
    torch.manual_seed(0)
    settings = ["data.groups=2", "data.held_out_groups=1", f"data.folder={tmp_path}"]
    stills = [f"data.stills={portraits}", "data.stills_share=0.6", "training.batch_size=12"]
    losses = "training.losses={parameters: 1, flow: 1, depth: 1, image: 1}"
    task = BaseTask(load_config("base", "tiny", [*settings, *stills, losses]), torch.device("cpu"))
    task.model.eval()
    batch = task.batch(0)
    moved = ~batch["known"]
    assert 3 < moved.sum() < 10
    torch.testing.assert_close(task.batch(0)["source"], batch["source"], rtol=0, atol=0)
    total, found = task.loss(batch, 1000)
    for name in ("motion", "depth"):
        batch[name][moved] = torch.nan
    again, _ = task.loss(batch, 1000)
    assert torch.equal(total, again)
    assert found.keys() == {"parameters", "flow", "depth", "image"}
