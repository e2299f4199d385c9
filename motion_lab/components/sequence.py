"""Building blocks over sequences of tokens that several components share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def feed_forward(size: int, inner: int, dropout: float) -> nn.Sequential:
    """Two linear layers around a GELU, on the last axis: (…, size) → (…, size)."""
    return nn.Sequential(
        nn.Linear(size, inner),
        nn.GELU(approximate="tanh"),
        nn.Dropout(dropout),
        nn.Linear(inner, size),
    )


def check_heads(width: int, heads: int) -> None:
    """Raise ValueError where heads of rotary attention cannot share `width` evenly."""
    if width % (2 * heads):
        raise ValueError(
            f"width must be a multiple of 2 * heads, so that rotary positions can turn pairs "
            f"of numbers; got width {width} and {heads} heads"
        )


def rotary_attention(projected: Tensor, turns: Tensor, heads: int, dropout: float = 0.0) -> Tensor:
    """Softmax attention over all tokens, which know one another's distance.

    Args:
        projected: queries, keys and values side by side, (B, L, 3 · width).
        turns: `rotary_turns` of the L positions, for heads of width / heads numbers.
        heads: among how many the width is shared.
        dropout: share of the attention weights that is dropped.

    Returns:
        (B, L, width).
    """
    q, k, v = projected.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(rotate(q, turns), rotate(k, turns), v, dropout_p=dropout)
    return y.transpose(1, 2).flatten(2)


def rotary_turns(previous: int, window: int, size: int) -> Tensor:
    """Cosine and sine by which position p in -previous..window-1 turns pair i of a head's
    numbers, p · 10000^(-2i / size): (previous + window, size / 2, 2) (arXiv 2104.09864)."""
    rates = 10_000 ** (-torch.arange(0, size, 2) / size)
    angles = torch.arange(-previous, window)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()], dim=2)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """x (B, heads, L, size), the pairs (i, i + size / 2) turned by their position."""
    a, b = x.chunk(2, dim=3)
    cos, sin = turns.to(x.dtype).unbind(2)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=3)
