"""`grid_sample` and `warp` in plain PyTorch: the definition of right.

Every mode is a sum over taps: along each axis a position gives one (nearest), two (bilinear) or
four (bicubic) cells with a weight each, and a tap's weight is the product of its axes'. Computed in
float64 for float64 input, else in float32; differentiable by autograd as often as one likes.

Where torch has two opinions about a coordinate that is not finite, these functions follow its CPU
kernels: with zero padding it gives NaN in 2-D and zero in 3-D; with the others it counts as an
edge, the first cell in 2-D and the last in 3-D.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

_CUBIC = -0.75  # the convolution coefficient of Keys (1981) that torch uses


def grid_sample(
    input: Tensor, grid: Tensor, *, mode: str, padding_mode: str, align_corners: bool
) -> Tensor:
    """Samples ``input`` at the normalised positions of ``grid``; shapes as in `ops.grid_sample`."""
    dtype = _compute_dtype(input)
    sizes = input.shape[:1:-1]
    positions = [
        _pixels(grid[..., axis].to(dtype), size, align_corners) for axis, size in enumerate(sizes)
    ]
    return _sample(input, positions, mode, padding_mode, align_corners)


def warp(
    input: Tensor,
    displacement: Tensor,
    weight: Tensor | None,
    mask: Tensor | None,
    *,
    padding_mode: str,
    align_corners: bool,
) -> Tensor:
    """Samples ``input`` bilinearly at identity + displacement; shapes as in `ops.warp`."""
    dtype = _compute_dtype(input)
    displacement = displacement.to(dtype)
    if weight is not None:
        displacement = (displacement * weight.to(dtype).unsqueeze(-1)).sum(dim=1)
    rank = input.ndim - 2
    out_sizes = displacement.shape[-1 - rank : -1]
    positions = []
    for axis, (size, out_size) in enumerate(zip(input.shape[:1:-1], out_sizes[::-1], strict=True)):
        cells = torch.arange(out_size, dtype=dtype, device=input.device)
        # Spread evenly around the middle; a single cell lies in it.
        span, steps = (size - 1, max(out_size - 1, 1)) if align_corners else (size, out_size)
        identity = (cells - (out_size - 1) / 2) * (span / steps) + (size - 1) / 2
        identity = identity.reshape(-1, *[1] * axis)
        positions.append(identity + displacement[..., axis] * (span / 2))
    result = _sample(input, positions, "bilinear", padding_mode, align_corners)
    if mask is None:
        return result
    mask = mask.unsqueeze(1) if result.ndim > input.ndim else mask
    return (result.to(dtype) * mask.to(dtype)).to(input.dtype)


def _compute_dtype(input: Tensor) -> torch.dtype:
    return torch.float64 if input.dtype == torch.float64 else torch.float32


def _pixels(x: Tensor, size: int, align_corners: bool) -> Tensor:
    """Normalised coordinates in cells: -1 and 1 are the centres (or borders) of the outer cells."""
    return (x + 1) / 2 * (size - 1) if align_corners else ((x + 1) * size - 1) / 2


def _clip(x: Tensor, size: int, not_a_number: float) -> Tensor:
    """To [0, size - 1]. No gradient flows at or beyond the edges, as in torch."""
    inside = (x > 0) & (x < size - 1)
    outside = x.detach().clamp(0, size - 1).nan_to_num(nan=not_a_number)
    return torch.where(inside, x, outside)


def _reflect(x: Tensor, size: int, align_corners: bool) -> Tensor:
    """Mirrors at the outer cells' centres (align_corners) or borders, as often as needed."""
    low, span = (0.0, size - 1) if align_corners else (-0.5, size)
    if span == 0:
        return torch.zeros_like(x)
    distance = (x - low).abs()
    distance = distance - (distance / (2 * span)).floor() * (2 * span)
    return torch.minimum(distance, 2 * span - distance) + low


def _pad(x: Tensor, size: int, padding_mode: str, align_corners: bool, rank: int) -> Tensor:
    if padding_mode == "zeros":
        return x
    if padding_mode == "reflection":
        x = _reflect(x, size, align_corners)
    return _clip(x, size, 0.0 if rank == 2 else size - 1.0)


def _cubic_weights(t: Tensor) -> list[Tensor]:
    """Weights of the cells at -1, 0, 1 and 2 for a position t in [0, 1) past cell 0."""

    def near(s: Tensor) -> Tensor:
        return ((_CUBIC + 2) * s - (_CUBIC + 3)) * s * s + 1

    def far(s: Tensor) -> Tensor:
        return ((_CUBIC * s - 5 * _CUBIC) * s + 8 * _CUBIC) * s - 4 * _CUBIC

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _taps(
    x: Tensor, size: int, mode: str, padding_mode: str, align_corners: bool, rank: int
) -> list[tuple[Tensor, Tensor]]:
    """The cells (whole numbers, perhaps outside) and weights that a position has along one axis."""
    if mode == "bicubic":
        first = x.floor()
        return [
            (_pad(first + offset, size, padding_mode, align_corners, rank), weight)
            for offset, weight in enumerate(_cubic_weights(x - first), start=-1)
        ]
    x = _pad(x, size, padding_mode, align_corners, rank)
    if mode == "nearest":
        return [(x.round(), torch.ones_like(x))]
    first = x.detach().floor()
    return [(first, 1 - (x - first)), (first + 1, x - first)]


def _sample(
    input: Tensor, positions: list[Tensor], mode: str, padding_mode: str, align_corners: bool
) -> Tensor:
    """``positions``: x, y[, z] in cells, each (N, [K,] *out)."""
    batch, channels, *sizes = input.shape
    rank = len(sizes)
    shape = positions[0].shape[1:]
    count = math.prod(shape)
    cells = input.reshape(batch, channels, math.prod(sizes)).to(positions[0].dtype)
    per_axis = [
        _taps(x.reshape(batch, count), size, mode, padding_mode, align_corners, rank)
        for x, size in zip(positions, reversed(sizes), strict=True)
    ]
    result = cells.new_zeros(batch, channels, count)
    for taps in itertools.product(*per_axis):
        index = torch.zeros(batch, count, dtype=torch.int64, device=input.device)
        inside = torch.ones_like(index, dtype=torch.bool)
        weight = torch.ones(batch, count, dtype=cells.dtype, device=input.device)
        stride = 1
        for (cell, axis_weight), size in zip(taps, reversed(sizes), strict=True):
            axis_inside = (cell >= 0) & (cell <= size - 1)
            index = index + torch.where(axis_inside, cell.detach(), 0).long() * stride
            inside = inside & axis_inside
            weight = weight * axis_weight
            stride *= size
        if rank == 3:
            weight = torch.where(inside, weight, 0)
        inside = inside.unsqueeze(1)
        value = cells.gather(2, index.unsqueeze(1).expand(-1, channels, -1))
        result = result + torch.where(inside, value, 0) * weight.unsqueeze(1)
    result = result.to(input.dtype)
    if len(shape) > rank:
        return result.reshape(batch, channels, *shape).movedim(2, 1)
    return result.reshape(batch, channels, *shape)
