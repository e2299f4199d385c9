"""Synthetic upper bodies: the arms go where they are told, and labels, landmarks and flow agree."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from motion_lab.data.synthetic.bodies import (
    FOREARM,
    SHOULDER,
    SPACE,
    UPPER_ARM,
    reach,
    sample_body,
    sample_body_poses,
)
from motion_lab.data.synthetic.identity import Body, Identity, sample_identity
from motion_lab.data.synthetic.parameters import BODY_EYES, BODY_MOTION, BODY_REGIONS, BODY_VIEW
from motion_lab.data.synthetic.renderer import (
    BODY_LANDMARK_NAMES,
    LANDMARK_NAMES,
    flow,
    render,
)

POLE = np.array([0.7, -1.0, -0.5])
# Light from everywhere and no gloss: a point then looks the same in every pose, up to occlusion.
FLAT = {
    **{f"light_{c}": 0.0 for c in ("red", "green", "blue")},
    **{f"{side}_{c}": 0.8 for side in ("sky", "ground") for c in ("red", "green", "blue")},
    **dict.fromkeys(("rim", "skin_spec", "hair_spec", "lip_gloss", "vignette"), 0.0),
}


def body(seed: int = 3) -> Identity:
    return sample_body(np.random.default_rng(seed))


def head() -> Identity:
    return sample_identity(np.random.default_rng(0))


def motion(**values: float) -> np.ndarray:
    vector = np.zeros(len(BODY_MOTION), np.float32)
    for name, value in values.items():
        vector[BODY_MOTION.index(name)] = value
    return vector


def at(points: np.ndarray, name: str) -> np.ndarray:
    return points[..., BODY_LANDMARK_NAMES.index(name), :]


def project(identity: Identity, point: np.ndarray) -> np.ndarray:
    """A pinhole camera by hand: it looks along -z at the plane of the eyes, from between them."""
    v = identity.values
    plane = v["eye_z"] + v["eye_r"]
    away = v["camera"] * BODY_VIEW
    x, y, z = np.moveaxis(point, -1, 0)
    share = away / (plane + away - z) / (3.3 * v["scale"] * BODY_VIEW)
    return np.stack([0.5 + x * share, BODY_EYES - y * share], -1)


def test_the_head_of_a_body_is_the_head_of_the_same_seed_in_a_smaller_frame():
    head, whole = sample_identity(np.random.default_rng(5)), body(5)
    assert head.values == whole.values
    far = head.replace(camera=200.0)
    pose = motion(yaw=0.3, jaw=0.4)
    alone = render(far, pose[None, :16], 32, channels=("landmarks",)).landmarks[0]
    within = render(Identity(far.values, whole.body), pose[None], 32, channels=("landmarks",))
    expected = (alone - (0.5, 0.42)) / BODY_VIEW + (0.5, BODY_EYES)
    assert np.allclose(within.landmarks[0, : len(LANDMARK_NAMES)], expected, atol=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_wrists_are_where_inverse_kinematics_was_asked_to_take_them(seed):
    person = body(seed).replace(shoulder_w=SHOULDER[0], shoulder_y=SHOULDER[1] + 0.1)
    bones = {"upper_arm": UPPER_ARM, "forearm": FOREARM}
    identity = Identity(person.values, Body({**person.body.values, **bones}))
    wrists = np.random.default_rng(seed).uniform(SPACE[:, 0], SPACE[:, 1], (40, 2, 3))
    arms = reach(wrists, POLE, np.zeros((40, 2)))
    near = np.linalg.norm(wrists - SHOULDER, axis=-1) < 0.95 * (UPPER_ARM + FOREARM)
    assert near.mean() > 0.5
    poses = np.concatenate([np.zeros((40, 16), np.float32), arms], 1)
    points = render(identity, poses, 32, channels=("landmarks",)).landmarks
    for side, name, mirror in ((0, "wrist_left", -1), (1, "wrist_right", 1)):
        expected = project(identity, wrists[:, side] * (mirror, 1, 1))
        assert np.allclose(at(points, name)[near[:, side]], expected[near[:, side]], atol=2e-3)


@pytest.mark.parametrize(
    ("angles", "axis", "sign"),
    [
        ({"lift": 0.6}, 0, 1),
        ({"elbow": 1.2}, 1, -1),
        ({"swing": 1.2}, 1, -1),
        ({"elbow": 1.5, "twist": 0.7}, 0, -1),
    ],
)
def test_each_angle_moves_the_hand_the_way_it_says_on_either_side(angles, axis, sign):
    for side, outwards in (("left", -1), ("right", 1)):
        moved = motion(**{f"{name}_{side}": value for name, value in angles.items()})
        points = at(
            render(body(), np.stack([motion(), moved]), 32, channels=("landmarks",)).landmarks,
            f"hand_{side}",
        )
        expected = sign * (outwards if axis == 0 else 1)
        assert expected * (points[1, axis] - points[0, axis]) > 0.05


def test_the_palm_turns_the_thumb_and_leaves_the_wrist():
    poses = np.stack([motion(elbow_left=1.5), motion(elbow_left=1.5, palm_left=1.5)])
    frames = render(body(), poses, 128)
    points = at(frames.landmarks, "wrist_left")
    assert np.allclose(points[0], points[1], atol=1e-5)
    hands = frames.regions == BODY_REGIONS.index("hands")
    assert (hands[0] != hands[1]).sum() > 20


def test_hands_in_the_gesture_space_are_before_the_torso():
    shown = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        identity = sample_body(rng)
        poses = sample_body_poses(rng, 24)
        frames = render(identity, poses, 192, channels=("regions", "landmarks"))
        before = [BODY_REGIONS.index(name) for name in ("hands", "arms")]
        for side in ("left", "right"):
            x, y = np.moveaxis(at(frames.landmarks, f"hand_{side}") * 192, -1, 0).astype(int)
            inside = (x >= 0) & (x < 192) & (y >= 0) & (y < 192)
            seen = frames.regions[np.arange(24)[inside], y[inside], x[inside]]
            assert np.isin(seen, before).mean() > 0.95
            shown += inside.sum()
    assert shown > 200


def test_warping_the_source_by_the_flow_gives_the_driving_frame_arms_included():
    scores, arms_seen = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        identity = sample_body(rng).replace(**FLAT)
        poses = sample_body_poses(rng, 2)
        # a gesture's length apart
        poses[1, 16:] = poses[0, 16:] + 0.35 * (poses[1, 16:] - poses[0, 16:])
        frames = render(identity, poses, 160, samples=2)
        displacement, visible = flow(identity, poses[1], poses[0], 160)
        arms = frames.regions[1] >= BODY_REGIONS.index("arms")
        line = (torch.arange(160) + 0.5) / 80 - 1
        grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
        source = torch.from_numpy(frames.image[0]).permute(2, 0, 1)[None].float()
        warped = F.grid_sample(
            source, (grid + torch.from_numpy(displacement))[None], align_corners=False
        )
        error = (warped[0].permute(1, 2, 0).numpy() - frames.image[1].astype(float)) ** 2
        where = (visible > 0) & arms
        arms_seen.append(where.sum() / arms.sum())
        scores.append(10 * np.log10(255**2 / error[where].mean()))
    assert np.mean(arms_seen) > 0.4
    assert np.median(scores) > 24


def test_the_flow_at_a_hand_is_the_way_that_its_landmark_goes():
    source, driving = motion(elbow_right=1.4, swing_right=0.3), motion(elbow_right=1.7)
    identity = body()
    frames = render(identity, np.stack([source, driving]), 256)
    displacement, visible = flow(identity, driving, source, 256)
    hands = at(frames.landmarks, "hand_right")
    x, y = (hands[1] * 256).astype(int)
    assert frames.regions[1, y, x] == BODY_REGIONS.index("hands")
    assert visible[y, x] == 1
    assert np.allclose(displacement[y, x] / 2, hands[0] - hands[1], atol=0.02)


def test_flow_between_equal_poses_is_zero_and_sees_everything():
    rng = np.random.default_rng(2)
    identity = sample_body(rng)
    pose = sample_body_poses(rng, 1)[0]
    displacement, visible = flow(identity, pose, pose, 96)
    assert np.abs(displacement).max() < 0.01
    assert visible.mean() > 0.995


def test_sleeves_change_the_picture_and_no_label():
    identity = body()
    bare, dressed = (
        Identity(identity.values, Body({**identity.body.values, "sleeve": sleeve}))
        for sleeve in (0.0, 1.9)
    )
    one, two = (render(each, motion(elbow_left=1.0)[None], 96) for each in (bare, dressed))
    assert np.abs(one.image.astype(int) - two.image).max() > 50
    assert (one.regions != two.regions).mean() < 0.02


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: render(body(), np.zeros((1, 16)), 32), r"motion must be \(frames, 26\)"),
        (lambda: render(head(), np.zeros((1, 26)), 32), "for a head"),
        (lambda: flow(body(), np.zeros(26), np.zeros(16)), r"source_motion must be .* body"),
        (lambda: Body({"hand": 1.0}), "Body values: missing"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
