"""Synthetic heads: what is rendered, what is labelled and the flow between frames agree."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from motion_lab.data.portrait import find_face, frame_face
from motion_lab.data.synthetic.identity import Identity, sample_identity
from motion_lab.data.synthetic.motion import sample_motion, sample_poses
from motion_lab.data.synthetic.parameters import LIMITS, MOTION, REGIONS
from motion_lab.data.synthetic.renderer import LANDMARK_NAMES, flow, render
from motion_lab.errors import UsageError
from motion_lab.ops import _native

# Light from everywhere and no gloss: a point then looks the same in every pose, up to occlusion.
FLAT = {
    **{f"light_{c}": 0.0 for c in ("red", "green", "blue")},
    **{f"{side}_{c}": 0.8 for side in ("sky", "ground") for c in ("red", "green", "blue")},
    **dict.fromkeys(("rim", "skin_spec", "hair_spec", "lip_gloss", "vignette"), 0.0),
}


def head(seed: int = 3) -> Identity:
    return sample_identity(np.random.default_rng(seed))


def motion(**values: float) -> np.ndarray:
    vector = np.zeros(len(MOTION), np.float32)
    for name, value in values.items():
        vector[MOTION.index(name)] = value
    return vector


def count(frames, name: str) -> np.ndarray:
    return (frames.regions == REGIONS.index(name)).sum((1, 2))


def landmark(frames, name: str) -> np.ndarray:
    return frames.landmarks[:, LANDMARK_NAMES.index(name)]


def psnr_where(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    error = ((a.astype(float) - b) ** 2).mean(-1)[where].mean()
    return 10 * np.log10(255**2 / error)


def crop_around_face(image: np.ndarray):
    """Where the portrait crop would cut this frame, or None where it finds no face."""
    wide = np.pad(image, ((64, 64), (64, 64), (0, 0)), mode="edge")
    try:
        framing = frame_face(find_face(wide))
    except UsageError:
        return None
    return replace(framing, centre=(framing.centre[0] - 64, framing.centre[1] - 64))


def warped(image: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    size = len(image)
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    grid = grid + torch.from_numpy(displacement)
    source = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    result = F.grid_sample(source, grid[None], padding_mode="border", align_corners=False)
    return result[0].permute(1, 2, 0).numpy()


def test_the_same_seed_gives_the_same_frames_on_any_number_of_threads():
    poses = sample_poses(np.random.default_rng(5), 3)
    assert np.array_equal(poses, sample_poses(np.random.default_rng(5), 3))
    one, two = render(head(), poses, 64), render(head(), poses, 64, threads=2)
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(one.image, render(head(4), poses, 64).image)


def test_every_instruction_set_renders_the_same():
    native = _native.cpu()
    best = native.isa()
    poses = sample_poses(np.random.default_rng(1), 2)
    expected = render(head(), poses, 64)
    try:
        for isa in ("baseline", "avx2"):
            try:
                native.set_isa(isa)
            except ValueError:
                continue  # this machine lacks it
            frames = render(head(), poses, 64)
            differs = np.abs(frames.image.astype(int) - expected.image).max(-1) > 8
            assert differs.mean() < 1e-3
            assert (frames.regions != expected.regions).mean() < 1e-3
            assert np.allclose(frames.landmarks, expected.landmarks, atol=1e-4)
    finally:
        native.set_isa(best)


def test_only_the_channels_asked_for_are_computed_and_they_do_not_depend_on_the_others():
    frames = render(head(), motion(yaw=0.2)[None], 48, channels=("regions",))
    assert frames.image.size == frames.depth.size == frames.landmarks.size == 0
    assert np.array_equal(frames.regions, render(head(), motion(yaw=0.2)[None], 48).regions)


def test_warping_the_source_by_the_flow_gives_the_driving_frame():
    scores = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        identity = sample_identity(rng).replace(**FLAT)
        poses = sample_poses(rng, 2)
        frames = render(identity, poses, 128, samples=2)
        displacement, visible = flow(identity, poses[1], poses[0], 128)
        shown = (visible > 0) & (frames.regions[1] > 0)
        assert shown.mean() > 0.1
        result = warped(frames.image[0], displacement)
        scores.append(psnr_where(result, frames.image[1], shown))
    assert np.median(scores) > 27


def test_flow_between_equal_poses_is_zero_and_sees_everything():
    pose = sample_poses(np.random.default_rng(2), 1)[0]
    displacement, visible = flow(head(), pose, pose, 96)
    assert np.abs(displacement).max() < 0.01
    assert visible.mean() > 0.995


def test_flow_follows_a_shift_of_the_frame():
    displacement, visible = flow(head(), motion(shift_x=0.05, shift_y=-0.03), motion(), 64)
    inside = render(head(), motion(shift_x=0.05, shift_y=-0.03)[None], 64).regions[0] > 0
    seen = inside & (visible > 0)
    assert np.allclose(displacement[seen], (-0.10, 0.06), atol=5e-3)


def test_flow_of_many_pairs_equals_the_flow_of_each():
    driving, source = np.split(sample_poses(np.random.default_rng(8), 4), 2)
    displacement, visible = flow(head(), driving, source, 32)
    for k in range(2):
        one = flow(head(), driving[k], source[k], 32)
        assert np.array_equal(one[0], displacement[k])
        assert np.array_equal(one[1], visible[k])


def test_framing_is_that_of_the_portrait_crop():
    frames = [render(head(seed), motion()[None], 64, channels=("landmarks",)) for seed in range(8)]
    left, right, chin = (
        np.concatenate([landmark(f, name) for f in frames])
        for name in ("iris_left", "iris_right", "chin")
    )
    assert np.allclose((left + right) / 2, (0.5, 0.42), atol=0.01)
    assert np.allclose((right - left)[:, 0], 0.19, atol=0.025)
    assert np.allclose(chin[:, 1], 0.75, atol=0.05)


def test_a_cascade_made_for_photographs_finds_heads_and_the_portrait_crop_returns_the_frame():
    framings = []
    for seed in range(12):
        image = render(head(seed), motion()[None], 256, samples=2, channels=("image",)).image[0]
        framing = crop_around_face(image)
        if framing is not None:
            framings.append((framing.side, *framing.centre))
    assert len(framings) >= 8
    side, x, y = np.median(framings, axis=0) / 256
    assert abs(side - 1) < 0.08
    assert abs(x - 0.5) < 0.02
    assert abs(y - 0.5) < 0.03


def test_landmarks_lie_on_what_they_name():
    identity = head().replace(glasses=0.0)
    frames = render(identity, motion(jaw=0.4)[None], 256)
    for name, region in (
        ("iris_left", "eyes"), ("iris_right", "eyes"), ("brow_middle_left", "brows"),
        ("lip_lower_outer", "lips"), ("nose_tip", "skin"), ("chin", "skin"),
    ):  # fmt: skip
        x, y = (landmark(frames, name)[0] * 256).astype(int)
        label = REGIONS.index(region)
        assert (frames.regions[0, y - 3 : y + 4, x - 3 : x + 4] == label).any(), name


def test_the_jaw_opens_the_mouth_and_lowers_the_chin():
    frames = render(head(), np.stack([motion(), motion(jaw=0.5), motion(jaw=1)]), 128)
    inside = count(frames, "mouth_interior")
    assert inside[0] == 0
    assert inside[2] > inside[1] > 40
    assert np.all(np.diff(landmark(frames, "chin")[:, 1]) > 0.02)


def test_pressed_lips_stay_shut_while_the_jaw_is_down():
    frames = render(head(), motion(jaw=0.5, lip_press=1)[None], 128)
    assert count(frames, "mouth_interior")[0] == 0


def test_a_blink_hides_the_eye_of_its_side():
    frames = render(head(), np.stack([motion(), motion(blink_left=1), motion(blink_right=1)]), 128)
    eyes = frames.regions == REGIONS.index("eyes")
    assert eyes[0].sum() > 40
    assert eyes[1, :, :64].sum() == 0
    assert eyes[1, :, 64:].sum() > 20
    assert eyes[2, :, 64:].sum() == 0


@pytest.mark.parametrize(
    ("name", "value", "mark", "axis", "sign"),
    [
        ("yaw", 0.3, "nose_tip", 0, 1),
        ("pitch", 0.3, "nose_tip", 1, -1),
        ("roll", 0.2, "forehead", 0, 1),
        ("shift_x", 0.1, "nose_tip", 0, 1),
        ("shift_y", 0.1, "nose_tip", 1, 1),
        ("zoom", 0.2, "mouth_corner_right", 0, 1),
        ("gaze_x", 0.3, "iris_left", 0, 1),
        ("gaze_y", 0.2, "iris_right", 1, -1),
        ("lip_width", 1.0, "mouth_corner_right", 0, 1),
        ("smile", 1.0, "mouth_corner_left", 1, -1),
        ("brow_raise", 1.0, "brow_middle_left", 1, -1),
        ("brow_frown", 1.0, "brow_inner_left", 0, 1),
    ],
)
def test_each_parameter_moves_its_landmark_the_way_it_says(name, value, mark, axis, sign):
    poses = np.stack([motion(), motion(**{name: value})])
    points = landmark(render(head(), poses, 32, channels=("landmarks",)), mark)
    assert sign * (points[1, axis] - points[0, axis]) > 0.005


def test_depth_is_that_of_a_head_before_a_wall():
    frames = render(head(), motion()[None], 64)
    depth, background = frames.depth[0], frames.regions[0] == 0
    assert np.array_equal(depth == 0, background)
    x, y = (landmark(frames, "nose_tip")[0] * 64).astype(int)
    assert depth[y, x] < np.percentile(depth[~background], 5)


def test_poses_keep_to_the_limits_and_strength_scales_them():
    poses = sample_poses(np.random.default_rng(0), 400)
    assert np.all((poses >= LIMITS[:, 0]) & (poses <= LIMITS[:, 1]))
    assert np.abs(poses[:, 0]).max() > 0.55
    half = sample_poses(np.random.default_rng(0), 400, strength=0.5)
    assert np.allclose(half, poses / 2, atol=1e-6)


def test_a_motion_is_smooth_and_lively():
    clip = sample_motion(np.random.default_rng(0), 250)
    assert clip.shape == (250, 16)
    assert np.abs(np.diff(clip[:, :3], axis=0)).max() < 0.12
    assert clip[:, MOTION.index("blink_left")].max() > 0.9
    assert np.all(clip.std(0) > 1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: render(head(), np.zeros((2, 5)), 32), "motion must be"),
        (lambda: render(head(), np.full((1, 16), np.nan), 32), "finite"),
        (lambda: render(head(), np.zeros((1, 16)), 0), "size"),
        (lambda: render(head(), np.zeros((1, 16)), 32, channels=("colour",)), "colour"),
        (lambda: flow(head(), np.zeros((2, 16)), np.zeros((3, 16))), "frames"),
        (lambda: head().replace(nose=1.0), "nose"),
        (lambda: head().replace(seed=float("nan")), "finite"),
        (lambda: sample_poses(np.random.default_rng(0), 3, strength=2.0), "strength"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_other_circumstances_change_light_and_room_and_nothing_about_the_person():
    rng = np.random.default_rng(0)
    person, other = sample_identity(rng), sample_identity(rng)
    shown = person.in_circumstances_of(other).values
    changed = {name for name, value in shown.items() if value != person.values[name]}
    assert {"light_x", "back_red", "camera", "cloth_red"} <= changed
    assert not {"face_w", "skin_red", "hair", "nose_y", "iris_red", "glasses"} & changed
