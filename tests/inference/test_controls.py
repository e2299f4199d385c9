"""What controls change of a motion, and what they leave, read with the exact parameters."""

import numpy as np
import pytest
import torch

from motion_lab.data.synthetic.parameters import HEAD_POSE, MOTION
from motion_lab.errors import UsageError
from motion_lab.inference.controls import LIDS, Controls
from motion_lab.models.motion_model import MotionModel

SIZE = 20
HEAD_AT = list(range(len(MOTION)))[HEAD_POSE]
LIDS_AT = [MOTION.index(name) for name in LIDS]
FACE_AT = [i for i in range(len(MOTION)) if i not in HEAD_AT + LIDS_AT]


def draw(seed):
    return torch.Generator().manual_seed(seed)


MIXING = torch.randn(len(MOTION), SIZE, generator=draw(5))


@pytest.fixture(scope="module")
def model():
    """A model whose features are a mixture of the parameters, and a little else."""
    spread = torch.linspace(0.2, 1, len(MOTION))
    parameters = spread * torch.randn(2000, len(MOTION), generator=draw(0))
    torch.manual_seed(0)
    lab = MotionModel(
        motion_size=SIZE,
        frontend={"name": "log_mel", "mels": 12, "margin": 0},
        extractors=[{"name": "mamba_l", "width": 8, "window": 2, "state": 4}],
        backbone={"name": "transformer", "width": 16, "layers": 1, "heads": 2},
        window=8,
    )
    lab.fit_readout(parameters @ MIXING, parameters)
    return lab


@pytest.fixture
def motion():
    """Parameters (F, 16) of a motion of 40 s, and the deviations they give."""
    parameters = 0.3 * torch.randn(1000, len(MOTION), generator=draw(1))
    return parameters, parameters @ MIXING


def read(deviations):
    """The true parameters of deviations, by the mixture they were made with."""
    return deviations @ torch.linalg.pinv(MIXING)


@pytest.mark.parametrize(("head", "expression"), [(0.0, 1.0), (0.5, 1.0), (1.0, 1.7), (0.3, 0.0)])
def test_head_and_expression_are_scaled_apart(model, motion, head, expression):
    parameters, deviations = motion
    changed = read(Controls(head, expression).apply(deviations, model, 0))
    close = {"atol": 0.06, "rtol": 0.03}
    torch.testing.assert_close(changed[:, HEAD_AT], head * parameters[:, HEAD_AT], **close)
    torch.testing.assert_close(changed[:, FACE_AT], expression * parameters[:, FACE_AT], **close)
    torch.testing.assert_close(changed[:, LIDS_AT], parameters[:, LIDS_AT], **close)


def test_blinks_come_as_often_as_asked(model, motion):
    _, deviations = motion
    for rate in (0, 12, 30):
        lids = read(Controls(blinks=rate).apply(deviations, model, 3))[:, LIDS_AT].mean(1)
        starts = (lids[1:] > 0.5) & (lids[:-1] <= 0.5)
        assert int(starts.sum()) == pytest.approx(rate * 40 / 60, abs=2)
        assert lids.max() == pytest.approx(1 if rate else 0, abs=0.05)
    again = [Controls(blinks=30).apply(deviations, model, seed) for seed in (3, 3, 4)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])


def test_a_still_head_stays_in_its_pose(model, motion):
    parameters, deviations = motion
    asked = Controls(head=0.0, pose=(20, -10, 5))
    first = read(asked.first(model)[None])[0]
    np.testing.assert_allclose(first[:3], np.radians([20, -10, 5]), atol=0.01)
    np.testing.assert_allclose(first[3:], 0, atol=0.01)
    still = read(asked.apply(deviations, model, 0))
    torch.testing.assert_close(
        still[:, HEAD_AT], first[HEAD_AT].expand(1000, -1), atol=0.06, rtol=0
    )
    torch.testing.assert_close(still[:, FACE_AT], parameters[:, FACE_AT], atol=0.06, rtol=0.03)


def test_asking_for_nothing_changes_nothing(model, motion):
    _, deviations = motion
    assert Controls().apply(deviations, model, 0) is deviations
    assert not Controls().first(model).any()


def test_a_model_that_does_not_know_its_motion_is_refused(model, motion):
    other = MotionModel(
        motion_size=SIZE,
        extractors=[{"name": "mamba_l", "width": 8, "window": 2, "state": 4}],
        backbone={"name": "transformer", "width": 16, "layers": 1, "heads": 2},
        window=8,
    )
    assert Controls().apply(motion[1], other, 0) is motion[1]
    with pytest.raises(UsageError, match="leave them out"):
        Controls(head=0.5).apply(motion[1], other, 0)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"head": -0.1}, "--head -0.1: choose from 0 to 3"),
        ({"expression": float("nan")}, "--expression nan"),
        ({"blinks": 500.0}, "--blinks 500"),
        ({"pose": (0, 60, 0)}, "a pitch of 60 degrees"),
    ],
)
def test_what_cannot_be_is_named(asked, message):
    with pytest.raises(UsageError, match=message):
        Controls(**asked).check()
