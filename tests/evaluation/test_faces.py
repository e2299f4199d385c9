"""Faces are followed through a clip, and cut out as published networks expect them."""

import pytest
import torch
from skimage.data import astronaut

from motion_lab.data.portrait import crop_portrait
from motion_lab.errors import UsageError
from motion_lab.evaluation.faces import FaceCrop, track_face
from motion_lab.evaluation.metrics.sync import longest_run

PORTRAIT = torch.from_numpy(crop_portrait(astronaut(), 128)[0]).permute(2, 0, 1)
BLANK = torch.full((3, 128, 128), 128, dtype=torch.uint8)


def film(*parts: tuple[torch.Tensor, int]) -> torch.Tensor:
    return torch.cat([frame.expand(count, -1, -1, -1) for frame, count in parts]).contiguous()


@pytest.fixture(scope="module")
def lost():
    """A face that is gone for 15 frames, comes back 10 pixels to the right, and goes for good."""
    moved = PORTRAIT.roll(10, dims=2)
    return film((PORTRAIT, 16), (BLANK, 15), (moved, 16), (BLANK, 8))


def test_a_face_is_followed_and_a_short_gap_is_filled(lost):
    track = track_face(lost)
    assert track.found.tolist() == [True] * 46 + [False] * 9
    assert abs(track.eyes[0] - [64, 0.42 * 128]).max() < 6, "where the crop has put them"
    assert track.eyes[45, 0] - track.eyes[0, 0] == pytest.approx(10, abs=2)
    assert track.eyes[0, 0] < track.eyes[23, 0] < track.eyes[45, 0]


def test_crops_follow_the_face_and_know_where_they_lie(lost):
    crops = FaceCrop(64, side=1.5, below=0.1)(lost)
    assert crops.images.shape == (46, 3, 64, 64)
    assert crops.kept.sum() == 46
    first, last = crops.images[0].float(), crops.images[45].float()
    assert (first - last).abs().mean() < 8, "the face lies still in its crop"
    assert crops.corner[45, 0] - crops.corner[0, 0] == pytest.approx(10 / 128, abs=0.02)
    assert 0 < crops.side[0] < 1


def test_whole_frames_are_crops_already(lost):
    crops = FaceCrop(64, side=1.5, below=0.1, mode="whole")(lost)
    assert crops.kept.all()
    assert crops.corner.abs().max() == 0
    assert (crops.side == 1).all()
    with pytest.raises(UsageError, match="'face' or 'whole', got 'eyes'"):
        FaceCrop(64, side=1.5, below=0.1, mode="eyes")


def test_where_there_is_no_face_there_are_no_crops():
    crops = FaceCrop(64, side=1.5, below=0.1)(film((BLANK, 3)))
    assert crops.images.shape == (0, 3, 64, 64)
    assert not crops.kept.any()


@pytest.mark.parametrize(
    ("kept", "run"),
    [("0110111101", (4, 8)), ("000", (0, 0)), ("111", (0, 3)), ("1101", (0, 2))],
)
def test_lip_sync_looks_at_the_longest_run_of_frames_with_a_face(kept, run):
    assert longest_run(torch.tensor([char == "1" for char in kept])) == run
