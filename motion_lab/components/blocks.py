"""Convolutional building blocks that several components share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lab.ops import warp


class ConvBlock(nn.Sequential):
    """3×3 convolution, batch norm, SiLU: (B, inputs, H, W) → (B, outputs, H/stride, W/stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
        )


class ConvBlock1d(nn.Sequential):
    """Convolution over three, batch norm, SiLU: (B, inputs, T) → (B, outputs, T/stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv1d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
            nn.BatchNorm1d(outputs),
            nn.SiLU(),
        )


class ResBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut; keeps shape (B, width, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvBlock(width, width),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x + self.body(x))


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) → (B, C, *size), bilinear; area-averaged where it shrinks."""
    height, width = size
    if x.shape[-2:] == (height, width):
        return x
    if height < x.shape[-2]:
        return F.interpolate(x, (height, width), mode="area")
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)


def moved(x: Tensor, displacement: Tensor) -> Tensor:
    """`warp` of x, also where autocast has left the displacement in half precision: that is too
    coarse for a place in an image, and refused beside features in full precision."""
    return warp(x, displacement.to(torch.promote_types(displacement.dtype, torch.float32)))


def pixel_centres(h: int, w: int, like: Tensor) -> Tensor:
    """Centres of the pixels in [-1, 1]: (h, w, 2), x then y."""
    y = torch.linspace(-1 + 1 / h, 1 - 1 / h, h, device=like.device, dtype=like.dtype)
    x = torch.linspace(-1 + 1 / w, 1 - 1 / w, w, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def expected_positions(logits: Tensor, temperature: float = 0.1) -> tuple[Tensor, Tensor]:
    """Heat-map logits (B, K, h, w) → expected positions (B, K, 2) in [-1, 1] and the heat maps."""
    h, w = logits.shape[-2:]
    heat = (logits / temperature).flatten(2).softmax(-1).unflatten(-1, (h, w))
    # No product of matrices, which autocast would take in half precision.
    return (heat.unsqueeze(-1) * pixel_centres(h, w, logits)).sum((2, 3)), heat


def share_kept(hidden: Tensor, rest: float) -> Tensor:
    """How much of a pixel stays, in [0, 1], given evidence that something hides it: exactly 1 at
    none, where sigmoid(``rest``) would be, and at less than none."""
    kept = torch.sigmoid(rest - hidden) / torch.sigmoid(hidden.new_tensor(rest))
    # The gradient passes the clamp, or a pixel once called visible could never be hidden again.
    return kept + (kept.clamp(max=1.0) - kept).detach()
