"""Frames as networks take them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def as_floats(frames: Tensor) -> Tensor:
    """Frames of 8 bits, or floats in [0, 1], as floats in [0, 1]."""
    return frames.float() / 255 if frames.dtype == torch.uint8 else frames


def batches(frames: Tensor, device: torch.device | str, size: int = 32) -> Iterator[Tensor]:
    """Frames (F, 3, S, S) as floats in [0, 1], a few at a time, on the device."""
    for some in frames.split(size):
        yield as_floats(some.to(device))
