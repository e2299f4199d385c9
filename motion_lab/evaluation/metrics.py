"""Metrics on frames and on motion features, as plain functions of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# A frame equal to its target would be infinitely good; 8-bit frames cannot tell more than this.
_BEST_PSNR = 60.0


def psnr(image: Tensor, target: Tensor, where: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB of each image, at most 60.

    Args:
        image, target: (B, 3, S, S) in [0, 1].
        where: (B, 1, S, S) bool, the pixels that count; all of them if left out.

    Returns:
        (B,), NaN for an image without any pixel that counts.
    """
    error = (image - target).square().mean(1, keepdim=True)
    if where is None:
        mean = error.mean((1, 2, 3))
    else:
        mean = (error * where).sum((1, 2, 3)) / where.sum((1, 2, 3))
    return (-10 * mean.log10()).clamp(max=_BEST_PSNR)


def sharpness(image: Tensor, target: Tensor, where: Tensor) -> Tensor:
    """Mean gradient magnitude of each image over that of its target: below 1 is blurred.

    Args and returns as :func:`psnr`. Gradients are those of the brightness, between neighbouring
    pixels that both count.
    """

    def strength(x: Tensor) -> Tensor:
        grey = x.mean(1, keepdim=True)
        down = (grey[..., 1:, :-1] - grey[..., :-1, :-1]).square()
        right = (grey[..., :-1, 1:] - grey[..., :-1, :-1]).square()
        return ((down + right).sqrt() * inside).sum((1, 2, 3))

    inside = where[..., :-1, :-1] & where[..., 1:, :-1] & where[..., :-1, 1:]
    return strength(image) / strength(target)


def grow(region: Tensor, pixels: int) -> Tensor:
    """Regions (B, 1, S, S) bool, widened by so many pixels on every side."""
    return F.max_pool2d(region.float(), 2 * pixels + 1, stride=1, padding=pixels) > 0


def probe_r2(features: Tensor, values: Tensor, train: Tensor) -> Tensor:
    """How well a linear map reads values off features: R² on the rows that are not `train`.

    Ridge regression on standardised features; the penalty is the one, of a grid, with the least
    generalised cross-validation error on the training rows (Golub, Heath and Wahba, 1979).

    Args:
        features: (N, M).
        values: (N, V).
        train: (N,) bool, the rows to fit on.

    Returns:
        (V,) float64; 1 is perfect, 0 no better than the mean of the training rows.
    """
    x, y = features.double(), values.double()
    mean, std = x[train].mean(0), x[train].std(0).clamp(min=1e-8)
    x, centre = (x - mean) / std, y[train].mean(0)
    u, s, vh = torch.linalg.svd(x[train], full_matrices=False)
    projected = u.mT @ (y[train] - centre)
    outside = (y[train] - centre).square().sum(0) - projected.square().sum(0)
    rows = int(train.sum())
    scores, maps = [], []
    for penalty in torch.logspace(-4, 4, 17, dtype=torch.float64) * s.square().mean():
        shrink = (s.square() / (s.square() + penalty))[:, None]
        residual = outside + ((1 - shrink) * projected).square().sum(0)
        scores.append(residual / (rows - 1 - shrink.sum()).clamp(min=1e-8).square())
        maps.append(vh.mT @ (shrink / s.clamp(min=1e-12)[:, None] * projected))
    best = torch.stack(scores).argmin(0)
    weights = torch.stack(maps)[best, :, torch.arange(y.shape[1])].mT
    error = (y[~train] - centre - x[~train] @ weights).square().sum(0)
    return 1 - error / (y[~train] - y[~train].mean(0)).square().sum(0)
