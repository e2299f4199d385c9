"""What the motion model learns from: people speaking, as MD frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from motion_lab.models.base_model import BaseModel


class Clip(NamedTuple):
    """One person speaking for F frames."""

    wave: np.ndarray  # (640 F,) float32, 16 kHz
    deviation: np.ndarray  # (F, M) float32, MD relative to the source's
    source: np.ndarray  # (M,) float32, MD of the portrait
    opening: np.ndarray  # (F,) float32, how far the jaw is open, 0..1; for validation alone
    # (F, 16) float32, the head's parameters (data.synthetic.parameters.MOTION), where they are
    # known: not trained on, but what the controls of `animate` are fitted to.
    parameters: np.ndarray | None = None


class MotionClips(NamedTuple):
    """Clips to train on, and clips of other people and sentences to validate on."""

    train: list[Clip]
    held_out: list[Clip]


class MotionData(Protocol):
    """A data set of stage 2, registered under `datasets`.

    Its further arguments are settings of the configuration's `data.dataset`. It may keep what it
    computes in `folder`, which belongs to this base model alone.
    """

    def __call__(self, *, base: BaseModel, folder: Path) -> MotionClips: ...
