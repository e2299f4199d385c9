"""The checkpoint that ships: it moves people it has never seen, by the motion it is given."""

import pytest

from motion_lab.evaluation.base import evaluate_base
from motion_lab.evaluation.heads import load_eval_heads
from motion_lab.models.weights import checkpoints, load_base_model


@pytest.fixture(scope="module")
def scores():
    if "small" not in checkpoints():
        pytest.skip("NO CHECKPOINT SHIPS WITH THIS TREE: the guard against collapse did not run")
    model = load_base_model("small")
    return evaluate_base(model, load_eval_heads(seed=1, identities=6, size=model.image_size))


def test_it_reconstructs_better_than_copying(scores):
    assert scores["psnr"] > scores["psnr_copy"] + 0.5
    assert scores["psnr_mouth"] > scores["psnr_mouth_copy"]


def test_it_uses_the_motion_feature(scores):
    """A collapsed model gives the same picture whatever the motion."""
    assert scores["psnr"] > scores["psnr_own_motion"] + 0.5
    assert scores["psnr"] > scores["psnr_other_motion"] + 0.5


def test_it_moves_pixels_instead_of_painting_them(scores):
    assert scores["flow_error"] < 0.8 * scores["flow_error_zero"]
    assert scores["generated_share"] < 0.4
    assert scores["sharpness"] > 0.6


def test_a_linear_probe_reads_the_head_pose_off_the_motion_feature(scores):
    assert scores["probe_r2"]["yaw"] > 0.3
