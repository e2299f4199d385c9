"""Portraits, recordings and two kinds of models for the tests of the main job."""

import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image as Pillow
from torch import nn

from motion_lab.configs.loading import load_config
from motion_lab.data.audio import save_wav
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.inference.animate import Models
from motion_lab.models.base_model import BaseModel
from motion_lab.models.motion_model import MotionModel
from motion_lab.models.weights import BASE_FILE, MOTION_FILE, motion_fingerprint, save_weights


class Brightness(nn.Module):
    """A base model whose motion is (brightness, 0): deviations make the portrait lighter."""

    image_size, motion_size = 64, 2

    def encode_motion(self, image):
        level = image.mean((1, 2, 3))
        return torch.stack([level, torch.zeros_like(level)], 1)

    def encode_source(self, image):
        motion = self.encode_motion(image)
        return SimpleNamespace(
            image=image,
            motion=motion,
            expand=lambda n: SimpleNamespace(image=image.expand(n, 3, 64, 64)),
        )

    def decode(self, source, deviation):
        return SimpleNamespace(image=source.image + deviation[:, :1, None, None])


class Loudness(nn.Module):
    """A motion model: the louder a frame's sound, the lighter; the seed adds a little.

    Its lightness is the jaw's opening, in the controls' eyes.
    """

    def __init__(self):
        super().__init__()
        self.readout = torch.zeros(2, len(MOTION))
        self.readout[0, MOTION.index("jaw")] = 1
        self.directions = self.readout.T

    def generate(self, wave, source_motion, *, first, steps, guidance, generator, progress):
        frames = nn.functional.pad(wave, (0, -wave.shape[1] % 640)).unflatten(1, (-1, 640))
        loud = frames.square().mean(2).sqrt() * (1 if guidance is None else guidance)
        progress(1, 1)
        loud = loud + 0.02 * torch.randn(loud.shape, generator=generator)
        return torch.stack([loud, torch.zeros_like(loud)], 2)


@pytest.fixture
def toys():
    return Models(Brightness(), Loudness(), "0" * 64)


@pytest.fixture
def portrait(tmp_path) -> Path:
    Pillow.fromarray(skimage.data.astronaut()).save(path := tmp_path / "astronaut.png")
    return path


@pytest.fixture
def recording(tmp_path) -> Path:
    """One second: quiet, then loud."""
    time = np.arange(16000) / 16000
    wave = np.sin(2 * np.pi * 220 * time) * np.where(time < 0.5, 0.02, 0.6)
    save_wav(path := tmp_path / "speech.wav", wave.astype(np.float32))
    return path


@functools.cache
def _tiny_models():
    torch.manual_seed(0)
    base = dict(load_config("base", "tiny").model)
    motion = {
        "motion_size": base["motion_size"],
        "frontend": {"name": "log_mel", "mels": 12, "margin": 0},
        "extractors": [
            {"name": "mamba_g", "width": 8, "layers": 1, "state": 4},
            {"name": "mamba_l", "width": 8, "window": 2, "state": 4},
        ],
        "backbone": {"name": "transformer", "width": 16, "layers": 1, "heads": 2},
        "window": 8,
        "steps": 2,
    }
    return (BaseModel(**base), dict(base)), (MotionModel(**motion), motion)


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A whole, untrained checkpoint of the smallest real models."""
    folder = tmp_path / "checkpoint"
    (base, base_config), (motion, motion_config) = _tiny_models()
    save_weights(folder / BASE_FILE, base, {"model": base_config})
    save_weights(
        folder / MOTION_FILE,
        motion,
        {"model": motion_config},
        motion_features=motion_fingerprint(folder),
    )
    return folder
