"""Depth layers as one coordinate: -1 at the tip of the nose, 1 behind the head."""

from __future__ import annotations

import torch
from torch import Tensor

# A head is about so deep, in the renderer's unit, from the tip of the nose: the volume's depth.
_HEAD_DEPTH = 1.6


def expected_layer(cue: Tensor) -> Tensor:
    """Where a depth cue (B, DF, h, w) expects the surface: (B, 1, h, w) in [-1, 1]."""
    layers = torch.linspace(-1, 1, cue.shape[1], device=cue.device)
    return (cue * layers[:, None, None]).sum(1, keepdim=True)


def true_layer(depth: Tensor) -> Tensor:
    """Where the renderer's depth (B, H, W), 0 in the background, lies: (B, 1, H, W) in [-1, 1]."""
    head = depth > 0
    nearest = depth.masked_fill(~head, torch.inf).amin((1, 2), keepdim=True)
    layer = (2 * (depth - nearest) / _HEAD_DEPTH - 1).clamp(-1, 1).masked_fill(~head, 1.0)
    return layer.unsqueeze(1)
