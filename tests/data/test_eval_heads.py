"""configs/eval_heads.yaml says what is drawn, and what is drawn does not change."""

import hashlib
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

import motion_lab
from motion_lab.data.synthetic.identity import sample_identity
from motion_lab.data.synthetic.motion import sample_poses
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.renderer import render

HEADS = OmegaConf.load(Path(motion_lab.__file__).parent / "configs" / "eval_heads.yaml")
ANGLES = ("yaw", "pitch", "roll", "gaze_x", "gaze_y")


def person(seed: int, number: int):
    rng = np.random.default_rng([HEADS.seed, seed, number])
    return sample_identity(rng), sample_poses(rng, 1 + HEADS.driving_frames)


def test_poses_fill_the_ranges_that_the_file_states():
    poses = np.concatenate([person(0, k)[1] for k in range(64)])
    assert set(HEADS.ranges) == set(MOTION)
    for column, name in enumerate(MOTION):
        low, high = HEADS.ranges[name]
        values = np.degrees(poses[:, column]) if name in ANGLES else poses[:, column]
        slack = 0.02 * (high - low)
        assert low - slack <= values.min() <= low + 0.1 * (high - low), name
        assert high - 0.1 * (high - low) <= values.max() <= high + slack, name


def test_the_people_and_their_poses_are_those_of_the_fingerprint():
    digest = hashlib.sha256()
    for number in range(8):
        identity, poses = person(0, number)
        for name in sorted(identity.values):
            digest.update(f"{name}={identity.values[name]:.4g};".encode())
        digest.update(",".join(f"{value:.4g}" for value in poses.ravel()).encode())
    assert digest.hexdigest()[:16] == HEADS.fingerprint


def test_the_pictures_are_those_of_the_thumbnail():
    # Across processors the last bits differ, so the tolerance is a few grey levels.
    identity, poses = person(0, 0)
    image = render(identity, poses[:1], 64, samples=2, channels=("image",)).image[0]
    blocks = image.reshape(8, 8, 8, 8, 3).mean((1, 3, 4))
    assert np.abs(blocks - np.array(HEADS.thumbnail)).max() < 2
