"""Motion as a sum along learned orthogonal directions, the baseline of LIA (arXiv 2203.09043)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock, resize


class LinearMotion(nn.Module):
    """Frame (B, 3, H, W) in [0, 1] → MD (B, motion_size) = Σᵢ aᵢ dᵢ, the dᵢ orthonormal.

    The coefficients a come from a convolutional pyramid over the frame at ``view_size``; the
    directions d are the Q factor of a learned matrix, so they stay orthonormal in training.
    """

    def __init__(
        self,
        motion_size: int = 64,
        directions: int = 20,
        width: int = 16,
        view_size: int = 128,
    ) -> None:
        super().__init__()
        if directions > motion_size:
            raise ValueError(
                f"{directions} orthogonal directions do not fit motion_size {motion_size}"
            )
        self.motion_size, self.view_size = motion_size, view_size
        widths = [3, width, 2 * width, 4 * width, 6 * width]
        self.trunk = nn.Sequential(*(ConvBlock(a, b, 2) for a, b in itertools.pairwise(widths)))
        cells = (view_size // 16) ** 2
        self.coefficients = nn.Sequential(
            nn.Linear(widths[-1] * cells, directions), nn.BatchNorm1d(directions, affine=False)
        )
        self.directions = nn.Parameter(torch.randn(motion_size, directions))

    def forward(self, image: Tensor) -> Tensor:
        features = self.trunk(resize(image, (self.view_size, self.view_size)) * 2 - 1)
        basis = torch.linalg.qr(self.directions).Q
        return self.coefficients(features.flatten(1)) @ basis.T
