"""The depthwise causal convolution of a Mamba block (arXiv 2312.00752, figure 3), tap by tap.

Takes the arguments of :mod:`motion_lab.ops.causal_conv1d` after their checks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def compute_dtype(x: Tensor) -> torch.dtype:
    """The type that a convolution of ``x`` is computed in."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def continued(x: Tensor, edge: Tensor | None, width: int, reverse: bool) -> Tensor:
    """x after the ``width - 1`` inputs that lie before it in time; before them where ``reverse``.

    Zeros where these are absent.
    """
    if edge is None:
        edge = x.new_zeros(*x.shape[:2], width - 1)
    return torch.cat([x, edge] if reverse else [edge, x], dim=2)


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    initial_state: Tensor | None = None,
    silu: bool = False,
    reverse: bool = False,
) -> Tensor:
    """``out (batch, dim, length)`` of x's dtype."""
    dtype = compute_dtype(x)
    width, length = weight.shape[1], x.shape[2]
    signal = continued(x, initial_state, width, reverse).to(dtype)
    taps = (weight.flip(1) if reverse else weight).to(dtype)
    out = torch.zeros_like(x, dtype=dtype)
    for k in range(width):
        out = out + taps[:, k, None] * signal[:, :, k : k + length]
    if bias is not None:
        out = out + bias.to(dtype)[:, None]
    return (F.silu(out) if silu else out).to(x.dtype)
