"""Hands measured by optical flow: known motions, and bodies whose gestures are known."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from motion_lab.data.synthetic.parameters import BODY_MOTION
from motion_lab.data.synthetic.renderer import BODY_LANDMARK_NAMES, render
from motion_lab.data.synthetic.speech import SILENCE, Speech
from motion_lab.data.synthetic.worlds import BODIES
from motion_lab.evaluation.arms import arm_scores, head_of, stroke_contrast
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.flow import SIZE, cells, hand_speed, optical_flow
from motion_lab.evaluation.lab import landmarks
from motion_lab.evaluation.metrics import build_metrics, measure
from motion_lab.evaluation.motion import evaluate_motion
from motion_lab.evaluation.speakers import EvalSpeakers

BODY_SPEAKERS = EvalSpeakers(sentences=4, seconds=4, seed=0, world=BODIES)


def sliding(places: np.ndarray) -> torch.Tensor:
    """Frames (F, 3, 128, 128) of a wall, and a patterned square of 32 pixels that lies at x."""
    rng = np.random.default_rng(0)

    def texture(size: int) -> np.ndarray:
        coarse = rng.integers(0, 255, (size // 4, size // 4, 3)).astype(np.uint8)
        return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)

    wall, patch = texture(SIZE), texture(32)
    frames = np.repeat(wall[None], len(places), axis=0)
    for frame, x in zip(frames, places, strict=True):
        frame[64:96, x : x + 32] = patch
    return torch.from_numpy(frames).movedim(-1, 1)


def test_flow_is_the_way_that_pixels_went():
    flow = optical_flow(sliding(np.array([20, 22, 26])))
    assert flow.shape == (2, SIZE, SIZE, 2)
    inside = flow[:, 70:90, 35:45]
    assert np.allclose(inside[..., 0].mean((1, 2)) * SIZE, (2, 4), atol=0.3)
    assert np.abs(inside[..., 1]).mean() * SIZE < 0.3
    assert np.allclose(hand_speed(flow) * SIZE, (2, 4), atol=0.5)
    assert np.abs(flow[:, :40]).mean() * SIZE < 0.1
    # the square crosses the second row of four from the bottom, in the left half
    means = cells(flow, 4).reshape(2, 4, 4, 2)
    assert (means[..., 0].flatten(1).argmax(1) // 4 == 2).all()
    assert len(optical_flow(sliding(np.array([20])))) == 0


def vowels(*seconds: float) -> Speech:
    phonemes, last = [], 0.0
    for time in seconds:
        phonemes += [(last, time - 0.04, SILENCE), (time - 0.04, time + 0.04, "ˈa")]
        last = time + 0.04
    return Speech(np.zeros(64000, np.float32), (*phonemes, (last, 4.0, SILENCE)))


def test_the_contrast_of_strokes_by_hand():
    clock = (np.arange(99) + 1) / 25
    speech = vowels(1.0, 2.0, 3.0)
    beating = 1 + np.cos(2 * np.pi * (clock + 0.1) / 0.2)  # rests on whole seconds
    assert stroke_contrast([beating], [speech]) == pytest.approx(1, abs=0.05)
    assert stroke_contrast([np.ones(99)], [speech]) == pytest.approx(0)
    assert stroke_contrast([2 - beating], [speech]) < -0.75  # tops fall between frames
    assert np.isnan(stroke_contrast([np.zeros(99)], [speech]))


def test_the_flow_of_bodies_tells_the_speed_of_their_hands():
    places = [BODY_LANDMARK_NAMES.index(f"hand_{side}") for side in ("left", "right")]
    found = []
    for speaker in BODY_SPEAKERS:
        shown = render(speaker.identity, speaker.motion, 128, channels=("image", "landmarks"))
        true = np.linalg.norm(np.diff(shown.landmarks[:, places], axis=0), axis=-1).mean(1)
        speed = hand_speed(optical_flow(torch.from_numpy(shown.image).movedim(-1, 1)))
        found.append(np.corrcoef(true, speed)[0, 1])
    assert np.mean(found) > 0.75


def test_the_part_of_a_frame_that_shows_the_head_is_a_heads_frame():
    speaker = BODY_SPEAKERS.speaker(0)
    rest = np.zeros((1, len(BODY_MOTION)), np.float32)
    frames = torch.from_numpy(render(speaker.identity, rest, 260).image).movedim(-1, 1)
    head = head_of(frames)
    assert head.shape[-2:] == (100, 100)
    seen = landmarks.load().track(head)
    assert landmarks.found(seen).all()


def test_bas_meets_strokes_that_end_where_sounds_begin():
    # It swings with a period of 40 frames, and rests at 20, 40, … A click sounds at each rest.
    frames = sliding((48 - 40 * np.cos(2 * np.pi * np.arange(121) / 40)).round().astype(int))

    def score(late: int) -> float:
        wave = torch.zeros(121 * 640)
        for rest in range(20, 120, 20):
            wave[(rest + late) * 640 :][:800] = torch.hann_window(1600)[800:]
        clip = Clip(frames, wave)
        return measure(build_metrics(["bas[flow]"]), [(clip, None)]).values["bas[flow]"]

    assert score(0) > 0.8
    assert score(10) < 0.3


def test_fgd_and_div_tell_gestures_from_stillness():
    def film(seconds: slice) -> Clip:
        speaker = BODY_SPEAKERS.speaker(0)
        shown = render(speaker.identity, speaker.motion[seconds], 64, channels=("image",)).image
        return Clip(torch.from_numpy(shown).movedim(-1, 1))

    moving, still = film(slice(None)), film(slice(None))
    still.frames[:] = still.frames[:1].clone()
    names = ["fgd[flow]", "div[flow]"]
    same = measure(build_metrics(names), [(moving, moving)]).values
    frozen = measure(build_metrics(names), [(still, moving)]).values
    assert same["fgd[flow]"] == pytest.approx(0, abs=1e-3)
    assert frozen["fgd[flow]"] > 10
    assert frozen["div[flow]"] < 0.1 * same["div[flow]"]


class Base(nn.Module):
    """A base model whose motion feature is the renderer's own, of whoever is being filmed."""

    image_size = 96

    def __init__(self) -> None:
        super().__init__()
        self.anywhere = nn.Parameter(torch.zeros(()))

    def encode_source(self, image):
        motion = torch.zeros(1, len(BODY_MOTION))
        return SimpleNamespace(motion=motion, expand=lambda frames: None)

    def decode(self, source, deviation):
        shown = render(self.speaker.identity, deviation.numpy(), 96, channels=("image",)).image
        return SimpleNamespace(image=torch.from_numpy(shown).movedim(-1, 1).float() / 255)

    def film(self, speakers):
        for self.speaker in speakers:
            yield self.speaker


class Mover:
    """A motion model that knows the truth, and comes some frames late."""

    def __init__(self, base: Base, late: int) -> None:
        self.base, self.late = base, late

    def generate(self, wave, source_motion, **_):
        motion = np.roll(self.base.speaker.motion, self.late, axis=0)
        return torch.from_numpy(np.stack([motion] * len(wave)))


@pytest.mark.parametrize(("late", "low", "high"), [(0, 0.2, 1.0), (13, -0.2, 0.2)])
def test_gestures_in_time_score_as_the_true_ones_do_and_late_ones_do_not(late, low, high):
    base = Base()
    scores = evaluate_motion(
        base, Mover(base, late), base.film(BODY_SPEAKERS), landmarks.load().track, samples=1
    )
    assert low < scores["strokes"] < high
    assert scores["strokes_true"] > 0.2
    assert abs(scores["strokes_shuffled"]) < 0.2
    assert scores["face_found"] > 0.5
    if not late:
        assert scores["strokes"] == pytest.approx(scores["strokes_true"], abs=0.02)
        assert scores["jaw_r"] == pytest.approx(scores["jaw_r_true"], abs=0.05)


def test_samples_of_one_sentence_count_with_its_own_voice():
    clock = (np.arange(99) + 1) / 25
    first, second = vowels(1.0, 2.0), vowels(1.1, 2.1)
    speeds = [1 + np.cos(2 * np.pi * (clock + 0.1 - shift) / 0.2) for shift in (0.0, 0.1)]
    made = [speeds[0], speeds[0], speeds[1], speeds[1]]
    scores = arm_scores(made, speeds, [first, second])
    assert scores["strokes"] == pytest.approx(scores["strokes_true"])
    assert scores["strokes"] > 0.9
    assert scores["strokes_shuffled"] < -0.9
