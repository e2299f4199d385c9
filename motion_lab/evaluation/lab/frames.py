"""Frames as networks take them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn


def as_floats(frames: Tensor) -> Tensor:
    """Frames of 8 bits, or floats in [0, 1], as floats in [0, 1]."""
    return frames.float() / 255 if frames.dtype == torch.uint8 else frames


def batches(frames: Tensor, network: nn.Module, size: int) -> Iterator[Tensor]:
    """Frames (F, 3, S, S) as floats in [0, 1], a few at a time, on the network's device."""
    device = next(network.parameters()).device
    for some in frames.split(size):
        yield as_floats(some.to(device))
