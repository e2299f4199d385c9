"""The lab networks that ship: what they measure, on people and voices they never met."""

import numpy as np
import pytest
import torch

from motion_lab.data.synthetic.identity import sample_identity
from motion_lab.data.synthetic.motion import sample_poses
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.renderer import LANDMARK_NAMES, render
from motion_lab.errors import MotionLabError
from motion_lab.evaluation.lab import landmarks
from motion_lab.evaluation.lab.weights import load_network, weights_file
from motion_lab.training.augment import add_noise, blur, compress


def column(name):
    return MOTION.index(name)


def as_tensor(frames):
    return torch.from_numpy(frames).movedim(-1, 1)


@pytest.fixture(scope="module")
def people():
    """Six people of a seed that no training uses, eight pictures of each."""
    rng = np.random.default_rng(2024)
    shown = []
    for _ in range(6):
        identity, motion = sample_identity(rng), sample_poses(rng, 8, strength=0.7)
        shown.append((render(identity, motion, 128, channels=("image", "landmarks")), motion))
    return shown


def test_landmarks_lie_where_the_renderer_put_them(people):
    network = landmarks.load()
    frames = np.concatenate([shown.image for shown, _ in people])
    truth = torch.from_numpy(np.concatenate([shown.landmarks for shown, _ in people]))
    guess = network.track(as_tensor(frames))
    assert guess.points.shape == (len(frames), len(LANDMARK_NAMES), 2)
    assert (guess.points - truth).norm(dim=-1).mean() < 0.016
    assert landmarks.found(guess).float().mean() > 0.95


@pytest.mark.parametrize("harm", ["blur", "noise", "jpeg", "dark"])
def test_landmarks_hold_where_pictures_are_bad(people, harm):
    rng = np.random.default_rng(0)
    change = {
        "blur": lambda x: blur(x, 1.5),
        "noise": lambda x: add_noise(x, 10, rng),
        "jpeg": lambda x: compress(x, 25),
        "dark": lambda x: x // 2,
    }[harm]
    frames = np.concatenate([shown.image for shown, _ in people])
    truth = torch.from_numpy(np.concatenate([shown.landmarks for shown, _ in people]))
    guess = landmarks.load().track(as_tensor(np.stack([change(x) for x in frames])))
    assert (guess.points - truth).norm(dim=-1).mean() < 0.025


@pytest.mark.parametrize(
    ("measure", "parameters", "least"),
    [
        ("mouth_opening", ["jaw"], 0.9),
        ("mouth_width", ["lip_width"], 0.75),
        ("lid_opening", ["blink_left", "blink_right"], 0.9),
    ],
)
def test_openings_are_those_of_the_motion(measure, parameters, least):
    """A ramp on a head that turns a little: the measure follows."""
    ramp = np.linspace(0, 1, 20)
    motion = np.zeros((20, len(MOTION)), np.float32)
    motion[:, column("yaw")] = 0.15 * np.sin(np.arange(20))
    for name in parameters:
        motion[:, column(name)] = ramp
    person = sample_identity(np.random.default_rng(5))
    frames = render(person, motion, 128, channels=("image",)).image
    measured = getattr(landmarks, measure)(landmarks.load().track(as_tensor(frames)).points)
    measured = measured.reshape(20, -1).mean(1)
    assert abs(np.corrcoef(measured, ramp)[0, 1]) > least


def test_measures_do_not_depend_on_place_size_and_turn_of_the_face():
    points = torch.rand(3, len(LANDMARK_NAMES), 2, generator=torch.Generator().manual_seed(0))
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    moved = 0.5 * points @ turn.T + torch.tensor([0.1, -0.2])
    for measure in (landmarks.mouth_opening, landmarks.mouth_width, landmarks.lid_opening):
        torch.testing.assert_close(measure(moved), measure(points), rtol=1e-4, atol=1e-5)


def test_a_file_of_another_network_is_refused():
    with pytest.raises(MotionLabError, match="holds the network 'landmarks', where 'sync' belongs"):
        load_network("sync", path=weights_file("landmarks"))
