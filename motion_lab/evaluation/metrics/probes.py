"""What a motion feature holds, as plain functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor


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
