"""What metrics see of a video."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Clip(NamedTuple):
    """A video as every metric takes it: square frames at 25 a second, and its sound."""

    frames: Tensor  # (F, 3, S, S) uint8 RGB
    wave: Tensor | None = None  # (T,) float32 in [-1, 1], mono at 16 kHz, from the first frame on
