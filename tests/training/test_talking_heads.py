"""The bank of speaking heads: what is in a clip, and that it is made once."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from motion_lab.data.synthetic.gestures import gesturing_motion
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.speech import SILENCE
from motion_lab.data.synthetic.worlds import BODIES, portrait_pose
from motion_lab.training import talking_heads as module
from motion_lab.training.talking_heads import film, speech_of_length, talking_bodies, talking_heads

FRAMES = 30


class Camera(nn.Module):
    """A base model whose motion feature is a picture's mean over a coarse grid."""

    image_size = 32

    def __init__(self) -> None:
        super().__init__()
        self.anywhere = nn.Parameter(torch.zeros(()))

    def encode_motion(self, image: Tensor) -> Tensor:
        assert image.shape[1:] == (3, 32, 32)
        assert image.min() >= 0
        assert 0.5 < image.max() <= 1
        return nn.functional.adaptive_avg_pool2d(image, 4).flatten(1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("frames", [30, 400])
def test_speech_has_the_length_asked_for_and_its_phonemes_cover_it(seed: int, frames: int) -> None:
    speech = speech_of_length(np.random.default_rng(seed), frames)
    assert len(speech.wave) == 640 * frames
    assert speech.phonemes[0][2] == SILENCE
    bounds = [(start, end) for start, end, _ in speech.phonemes]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == pytest.approx(frames / 25)
    assert all(end > start for start, end in bounds)
    assert all(a[1] == pytest.approx(b[0]) for a, b in itertools.pairwise(bounds))
    for start, end, symbol in speech.phonemes[:: len(bounds) - 1]:
        if symbol == SILENCE:
            assert np.abs(speech.wave[int(start * 16000) : int(end * 16000)]).max() < 0.02


def test_a_clip_is_one_person_relative_to_their_portrait() -> None:
    clip = film(np.random.default_rng(3), FRAMES, Camera())
    again = film(np.random.default_rng(3), FRAMES, Camera())
    assert all(np.array_equal(a, b) for a, b in zip(clip, again, strict=True))
    assert clip.wave.shape == (640 * FRAMES,)
    assert clip.deviation.shape == (FRAMES, 48)
    assert clip.source.shape == (48,)
    assert 0 <= clip.opening.min() < 0.05 < clip.opening.max() <= 1
    # Portrait and frames show the same picture but for the motion.
    assert 0 < np.abs(clip.deviation).max() < 0.5
    assert np.abs(clip.deviation).mean() < 0.1 * np.abs(clip.source).mean()


def test_who_says_nothing_keeps_the_mouth_shut_and_lives() -> None:
    clip = film(np.random.default_rng(5), 150, Camera(), silent=1.0)
    assert not clip.wave.any()
    assert clip.opening.max() < 0.02
    assert clip.parameters is not None
    spread = dict(zip(MOTION, np.ptp(clip.parameters, axis=0), strict=True))
    assert spread["blink_left"] > 0.5
    assert spread["yaw"] > 0.002
    assert film(np.random.default_rng(5), 150, Camera()).wave.any()


def test_clips_are_filmed_once_and_an_interrupted_build_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"clips": 3, "held_out": 1, "frames": FRAMES}
    whole = talking_heads(Camera(), tmp_path / "whole", **settings)
    assert (len(whole.train), len(whole.held_out)) == (3, 1)
    assert not np.array_equal(whole.train[0].source, whole.held_out[0].source)

    filmed = []

    def interrupted(*args, **kwargs):
        if len(filmed) == 2:
            raise KeyboardInterrupt
        filmed.append(1)
        return film(*args, **kwargs)

    monkeypatch.setattr(module, "film", interrupted)
    with pytest.raises(KeyboardInterrupt):
        talking_heads(Camera(), tmp_path / "parts", **settings)
    monkeypatch.setattr(module, "film", film)
    parts = talking_heads(Camera(), tmp_path / "parts", **settings)
    monkeypatch.setattr(module, "film", None)
    again = talking_heads(Camera(), tmp_path / "parts", **settings)
    for others in (parts, again):
        for a, b in zip(
            [*whole.train, *whole.held_out], [*others.train, *others.held_out], strict=True
        ):
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_bodies_gesture_from_the_place_where_the_portrait_has_their_hands() -> None:
    clip = film(np.random.default_rng(3), FRAMES, Camera(), BODIES)
    assert clip.deviation.shape == (FRAMES, 48)
    assert clip.parameters is not None
    assert clip.parameters.shape == (FRAMES, len(MOTION))
    motion = gesturing_motion(
        speech_of_length(np.random.default_rng(3), FRAMES), np.random.default_rng(3)
    )
    rest = portrait_pose(motion)
    assert not rest[:, : len(MOTION)].any()
    assert np.array_equal(rest[:, len(MOTION) :], motion[:1, len(MOTION) :])


def test_clips_of_bodies_are_kept_beside_those_of_heads(tmp_path: Path) -> None:
    settings = {"clips": 1, "held_out": 1, "frames": FRAMES}
    heads = talking_heads(Camera(), tmp_path, **settings)
    bodies = talking_bodies(Camera(), tmp_path, **settings)
    assert len(list(tmp_path.iterdir())) == 2
    assert not np.array_equal(heads.train[0].source, bodies.train[0].source)
