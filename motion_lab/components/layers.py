"""Depth layers as one coordinate: -1 at the nearest point shown, 1 behind all that is shown."""

from __future__ import annotations

import torch
from torch import Tensor

HEAD_DEPTH = 1.6
"""A head is about so deep, in the renderer's unit, from the tip of the nose."""


def expected_layer(cue: Tensor) -> Tensor:
    """Where a depth cue (B, DF, h, w) expects the surface: (B, 1, h, w) in [-1, 1]."""
    layers = torch.linspace(-1, 1, cue.shape[1], device=cue.device)
    return (cue * layers[:, None, None]).sum(1, keepdim=True)


def true_layer(depth: Tensor, span: float = HEAD_DEPTH) -> Tensor:
    """Where the renderer's depth (B, H, W), 0 in the background, lies: (B, 1, H, W) in [-1, 1].

    ``span``: how deep the volume is, in the renderer's unit.
    """
    shown = depth > 0
    nearest = depth.masked_fill(~shown, torch.inf).amin((1, 2), keepdim=True)
    layer = (2 * (depth - nearest) / span - 1).clamp(-1, 1).masked_fill(~shown, 1.0)
    return layer.unsqueeze(1)
