"""The yardstick of moving a picture as a whole: the affine map that fits a target best."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lab.ops import warp

# (side in pixels, steps, step size): large motions are found on small pictures.
_LEVELS = ((16, 20, 0.045), (32, 20, 0.0225), (64, 20, 0.009), (128, 10, 0.003))


def fit_affine(source: Tensor, target: Tensor) -> Tensor:
    """Each source picture moved by the affine map that brings it nearest to its target.

    It sees the target, so it is what no model can do by turning, scaling and shearing alone. The
    six numbers are fitted by Adam on the squared error, from coarse to fine.

    Args:
        source, target: (B, 3, S, S) in [0, 1].

    Returns:
        (B, 3, S, S).
    """
    matrix = torch.zeros(len(source), 2, 3, device=source.device)
    with torch.enable_grad():
        for side, steps, rate in _LEVELS:
            if side > source.shape[-1]:
                break
            small, goal = (
                F.interpolate(x, (side, side), mode="area").detach() for x in (source, target)
            )
            matrix = matrix.detach().requires_grad_()
            optimiser = torch.optim.Adam([matrix], rate)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, rate / 10)
            for _ in range(steps):
                optimiser.zero_grad()
                # Summed over pairs: each is fitted on its own.
                (_move(small, matrix) - goal).square().mean((1, 2, 3)).sum().backward()
                optimiser.step()
                schedule.step()
    return _move(source, matrix.detach())


def _move(image: Tensor, matrix: Tensor) -> Tensor:
    grid = F.affine_grid(_identity(matrix), list(image.shape), align_corners=False)
    moved = F.affine_grid(_identity(matrix) + matrix, list(image.shape), align_corners=False)
    return warp(image, moved - grid)


def _identity(matrix: Tensor) -> Tensor:
    return torch.eye(2, 3, device=matrix.device).expand(len(matrix), -1, -1)
