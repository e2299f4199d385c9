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


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each image to its target, at most 1. Differentiable.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to
    structural similarity", 2004: Gaussian windows of 11 pixels and σ = 1.5, each colour for
    itself, where the window lies inside the image.

    Args:
        image, target: (B, C, H, W) in [0, 1], H and W at least 11.

    Returns:
        (B,).
    """
    offsets = torch.arange(-5, 6, device=image.device, dtype=image.dtype)
    window = torch.softmax(-(offsets / 1.5).square() / 2, 0)

    def local_mean(x: Tensor) -> Tensor:
        x = F.conv2d(x.flatten(0, 1).unsqueeze(1), window.view(1, 1, 1, -1))
        return F.conv2d(x, window.view(1, 1, -1, 1)).unflatten(0, image.shape[:2]).squeeze(2)

    mean_a, mean_b = local_mean(image), local_mean(target)
    variance_a = local_mean(image.square()) - mean_a.square()
    variance_b = local_mean(target.square()) - mean_b.square()
    covariance = local_mean(image * target) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + 0.01**2) / (mean_a.square() + mean_b.square() + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_a + variance_b + 0.03**2)
    return (likeness * structure).mean((1, 2, 3))


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


def identified(features: Tensor, people: Tensor) -> float:
    """How often a feature tells whose it is, of one chance in as many as there are people.

    Every other row of a person makes up that person's centre; the rest are given to the nearest
    centre, in the metric of the spread within persons (linear discriminant analysis).

    Args:
        features: (N, M), at least two rows a person.
        people: (N,), numbers of persons.
    """
    x = features.double()
    x = (x - x.mean(0)) / x.std(0).clamp(min=1e-8)
    names, person = people.unique(return_inverse=True)
    turn = torch.zeros_like(person)
    for i in range(len(names)):
        rows = (person == i).nonzero().flatten()
        turn[rows] = torch.arange(len(rows)) % 2
    known = turn == 0
    centres = torch.stack([x[known & (person == i)].mean(0) for i in range(len(names))])
    within = (x[known] - centres[person[known]]).T.cov()
    # Few rows a person leave the spread poorly known: a share of its mean keeps it regular.
    within += 0.1 * within.diagonal().mean() * torch.eye(len(within), dtype=x.dtype)
    factor = torch.linalg.cholesky(within)

    def whitened(rows: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(factor, rows.T, upper=False).T

    nearest = torch.cdist(whitened(x[~known]), whitened(centres)).argmin(1)
    return (nearest == person[~known]).double().mean().item()
