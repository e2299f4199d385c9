"""The bank of frame pairs that stage 1 trains on."""

import numpy as np
import pytest

from motion_lab.data.synthetic import pairs
from motion_lab.data.synthetic.pairs import FRAMES, PAIRS, build_pairs, sample_group
from motion_lab.data.synthetic.parameters import BODY_MOTION, BODY_REGIONS, HEAD_POSE, MOTION
from motion_lab.data.synthetic.renderer import BODY_LANDMARK_NAMES
from motion_lab.data.synthetic.worlds import BODIES
from motion_lab.errors import UsageError


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return build_pairs(tmp_path_factory.mktemp("pairs"), groups=2, size=64, seed=3)


def test_a_group_has_frames_that_differ_in_expression_alone():
    motion = sample_group(np.random.default_rng(0))
    assert motion.shape == (FRAMES, len(MOTION))
    for frame, like in ((5, 1), (6, 2), (7, 0)):
        np.testing.assert_array_equal(motion[frame, HEAD_POSE], motion[like, HEAD_POSE])
        assert not np.array_equal(motion[frame], motion[like])


def test_the_true_displacement_makes_the_driving_frame_of_the_source(bank):
    """Sampled by hand, nearest pixel, where the truth says the source shows the point."""
    errors, copying = [], []
    centres = (np.arange(64) + 0.5) / 64 * 2 - 1
    for index, (source, driving) in enumerate(PAIRS):
        shift = bank.displacement[0, 0, index].astype(np.float64)
        x = np.clip(np.round((centres + shift[..., 0] + 1) * 32 - 0.5), 0, 63).astype(int)
        y = np.clip(np.round((centres[:, None] + shift[..., 1] + 1) * 32 - 0.5), 0, 63).astype(int)
        seen = bank.visible[0, 0, index] > 127
        target = bank.frames[0, 0, driving].astype(float)
        moved = bank.frames[0, 0, source].astype(float)[y, x]
        errors.append(np.abs(moved - target)[seen].mean())
        copying.append(np.abs(bank.frames[0, 0, source] - target)[seen].mean())
    assert np.mean(errors) < 0.6 * np.mean(copying)


def test_an_interrupted_build_goes_on_and_ends_the_same(bank, tmp_path, monkeypatch):
    whole = pairs._render_group

    def stops(bank, group, *rest):
        if group == 1:
            raise KeyboardInterrupt
        whole(bank, group, *rest)

    monkeypatch.setattr(pairs, "_render_group", stops)
    with pytest.raises(KeyboardInterrupt):
        build_pairs(tmp_path, groups=2, size=64, seed=3)
    monkeypatch.undo()
    again = build_pairs(tmp_path, groups=2, size=64, seed=3)
    for name in bank._fields:
        np.testing.assert_array_equal(getattr(again, name), getattr(bank, name), err_msg=name)


def test_a_bank_made_otherwise_is_refused(bank, tmp_path):
    build_pairs(tmp_path, groups=1, size=64, seed=0)
    with pytest.raises(UsageError, match="holds a bank made with"):
        build_pairs(tmp_path, groups=1, size=64, seed=1)


def test_a_bank_of_bodies_has_arms_that_strokes_move(tmp_path):
    bank = build_pairs(tmp_path, groups=1, size=64, seed=0, world=BODIES)
    assert bank.motion.shape == (1, FRAMES, len(BODY_MOTION))
    assert bank.landmarks.shape[-2] == len(BODY_LANDMARK_NAMES)
    arms = bank.motion[0, :, len(MOTION) :]
    for near, like in ((5, 1), (6, 2), (7, 0)):
        assert 0 < np.abs(arms[near] - arms[like]).max() < np.abs(arms[3] - arms[4]).max()
    assert (bank.regions == BODY_REGIONS.index("hands")).sum((-2, -1)).min() > 0
    with pytest.raises(UsageError, match="holds a bank made with"):
        build_pairs(tmp_path, groups=1, size=64, seed=0)
