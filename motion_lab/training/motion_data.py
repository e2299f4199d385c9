"""What the motion model learns from: people speaking, as MD frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from rich.progress import track

from motion_lab.files import whole_file
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


def kept_clips(folder: Path, count: int, make: Callable[[int], Clip]) -> list[Clip]:
    """Clips 0 to ``count``, those that are not kept in ``folder`` yet made and kept there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:05d}.npz" for index in range(count)]
    missing = [index for index, path in enumerate(paths) if not path.exists()]
    for index in track(missing, f"Filming {folder.name} clips", disable=not missing):
        clip = make(index)
        with whole_file(paths[index]) as unfinished, unfinished.open("wb") as file:
            np.savez(file, **clip._asdict())
    return [Clip(**np.load(path)) for path in paths]


class MotionData(Protocol):
    """A data set of stage 2, registered under `datasets`.

    Its further arguments are settings of the configuration's `data.dataset`. It may keep what it
    computes in `folder`, which belongs to this base model alone.
    """

    def __call__(self, *, base: BaseModel, folder: Path) -> MotionClips: ...
