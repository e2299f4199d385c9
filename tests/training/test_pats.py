"""The reader of PATS: what is in the files becomes what a synthetic body does."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from motion_lab.data.synthetic.bodies import FOREARM, SHOULDER, SPACE, UPPER_ARM
from motion_lab.data.synthetic.identity import Body, Identity
from motion_lab.data.synthetic.renderer import BODY_LANDMARK_NAMES, render
from motion_lab.errors import UsageError
from motion_lab.training import pats as module
from motion_lab.training.pats import lift, pats

h5py = pytest.importorskip("h5py")


class Camera(nn.Module):
    """A base model whose motion feature is a picture's mean over a coarse grid."""

    image_size = 32

    def __init__(self) -> None:
        super().__init__()
        self.anywhere = nn.Parameter(torch.zeros(()))

    def encode_motion(self, image: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(image, 4).flatten(1)


def test_one_clip_an_interval_of_voice_and_gesture(pats_folder: Path, tmp_path: Path) -> None:
    clips = pats(Camera(), tmp_path, str(pats_folder), frames=25)
    assert (len(clips.train), len(clips.held_out)) == (2, 1)
    for clip in (*clips.train, *clips.held_out):
        assert clip.wave.shape == (640 * 25,)
        assert clip.deviation.shape == (25, 48)
        assert 0.2 < clip.opening.max() <= 0.8
        assert np.abs(clip.deviation).max() > 0
    alone = pats(Camera(), tmp_path, str(pats_folder), speakers=["bee"], frames=25)
    assert len(alone.train) == 1


def test_the_hand_of_the_body_is_where_the_hand_of_the_pose_was(
    pats_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In units of the shoulders' distance, from the middle of the shoulders."""
    performed = []
    film = module.seen

    def watched(base, identity, motion, wave):
        # somebody of middling build, from far away
        far = identity.replace(
            camera=500.0, shoulder_w=SHOULDER[0], shoulder_y=SHOULDER[1] + 0.1
        ).values
        bones = {"upper_arm": UPPER_ARM, "forearm": FOREARM}
        middling = Identity(far, Body({**identity.body.values, **bones}))
        performed.append(render(middling, motion, 32, channels=("landmarks",)).landmarks)
        return film(base, identity, motion, wave)

    monkeypatch.setattr(module, "seen", watched)
    pats(Camera(), tmp_path, str(pats_folder), speakers=["bee"], frames=25)
    points = dict(zip(BODY_LANDMARK_NAMES, np.moveaxis(performed[0], 1, 0), strict=True))
    width = points["shoulder_right"][:, 0] - points["shoulder_left"][:, 0]
    middle = (points["shoulder_right"] + points["shoulder_left"]) / 2
    left, right = (
        (points[f"wrist_{side}"] - middle) / width[:, None] for side in ("left", "right")
    )
    # The pose has them 90 pixels aside and 60 below, where the shoulders are 200 apart.
    assert np.allclose(right.mean(0), (0.45, 0.30), atol=0.01)
    assert np.allclose(left.mean(0), (-0.45, 0.30), atol=0.04)
    assert left[:, 1].std() > 5 * right[:, 1].std()


def test_a_forearm_that_looks_short_points_to_the_camera() -> None:
    poses = np.zeros((1, 2, 52))
    for arm, side in (((1, 2, 3), -1), ((4, 5, 6), 1)):
        poses[0, 0, list(arm)] = side * 100 * SHOULDER[0]
        poses[0, 1, arm[1]] = 270
    scale = 0.01
    poses[0, :, 3] = poses[0, :, 2]  # the right hand covers its elbow
    poses[0, :, 6] = poses[0, :, 5] + (0, FOREARM / scale)  # the left arm hangs
    (right, left) = lift(poses)[0]
    assert right == pytest.approx((SHOULDER[0], SHOULDER[1] - 2.7, SHOULDER[2] + FOREARM))
    assert left == pytest.approx((SHOULDER[0], SHOULDER[1] - 2.7 - FOREARM, SPACE[2, 0]))


def damaged(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder)
    return folder


def remove(name: str):
    return lambda root: (root / name).unlink()


def write(name: str, data: bytes):
    return lambda root: (root / name).write_bytes(data)


def poses_of(shape: tuple[int, ...]):
    def change(root: Path) -> None:
        with h5py.File(root / "processed/bee/300.h5", "w") as file:
            file["pose/data"] = np.zeros(shape)

    return change


def without_poses(root: Path) -> None:
    with h5py.File(root / "processed/bee/300.h5", "w") as file:
        file["audio/silence"] = np.zeros(3)


def all_missing(root: Path) -> None:
    with h5py.File(root / "missing_intervals.h5", "w") as file:
        file["intervals"] = np.array(["100", "200"], dtype=object)


def other_columns(root: Path) -> None:
    with (root / "cmu_intervals_df.csv").open("w", newline="") as file:
        csv.writer(file).writerow(["speaker", "interval"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("cmu_intervals_df.csv"), "cmu_intervals_df.csv cannot be read"),
        (other_columns, "lacks the columns dataset, interval_id"),
        (remove("processed/bee/300.h5"), "no interval of part 'dev' to read: 1 lack poses"),
        (remove("raw/bee_cropped/300.mp3"), "1 lack poses or sound"),
        (write("processed/bee/300.h5", b"PK"), "300.h5 is broken or no HDF5 file"),
        (write("raw/bee_cropped/300.mp3", b"nothing"), "300.mp3"),
        (poses_of((30, 98)), "must be finite and of shape"),
        (poses_of((30, 104)), "300.h5: the shoulders are in one place"),
        (poses_of((10, 104)), "1 are shorter than 25 frames"),
        (without_poses, "has no pose/data"),
        (all_missing, "no interval of part 'train'"),
    ],
)
def test_what_cannot_be_read_is_named(
    pats_folder: Path, tmp_path: Path, change, message: str
) -> None:
    root = damaged(pats_folder, tmp_path / "pats")
    change(root)
    with pytest.raises(UsageError, match=message):
        pats(Camera(), tmp_path, str(root), frames=25)


def test_unknown_speakers_are_answered_with_the_known(pats_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing of oliver; it has speakers bee, noah"):
        pats(Camera(), tmp_path, str(pats_folder), speakers=["oliver"])


def test_intervals_that_are_not_on_disk_are_left_out_and_counted(
    pats_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = damaged(pats_folder, tmp_path / "pats")
    (root / "raw/noah_cropped/200.mp3").unlink()
    assert len(pats(Camera(), tmp_path, str(root), frames=25).train) == 1
    assert "1 lack poses or sound" in capsys.readouterr().err
