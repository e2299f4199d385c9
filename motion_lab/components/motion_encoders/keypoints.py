"""Keypoints with local affine maps, the baseline of first-order motion (arXiv 2003.00196)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock, expected_positions, resize

NUMBERS = 6  # a position (x, y) and a 2×2 matrix for each keypoint


class KeypointMotion(nn.Module):
    """Frame (B, 3, H, W) in [0, 1] → MD (B, motion_size): motion_size / 6 keypoints.

    Each keypoint is the expected position under a softmax heat map, in [-1, 1], and the matrix is
    the heat map's average of a predicted 2×2 field: the layout is (K, 6), flattened.
    """

    def __init__(self, motion_size: int = 60, width: int = 16, view_size: int = 128) -> None:
        super().__init__()
        if motion_size % NUMBERS:
            raise ValueError(
                f"motion_size must be a multiple of {NUMBERS} for keypoints, got {motion_size}"
            )
        self.motion_size, self.view_size = motion_size, view_size
        self.keypoints = motion_size // NUMBERS
        self.trunk = nn.Sequential(
            ConvBlock(3, width, 2), ConvBlock(width, 2 * width, 2), ConvBlock(2 * width, 4 * width)
        )
        self.heat = nn.Conv2d(4 * width, self.keypoints, 7, 1, 3)
        self.matrix = nn.Conv2d(4 * width, 4 * self.keypoints, 7, 1, 3)

    def forward(self, image: Tensor) -> Tensor:
        features = self.trunk(resize(image, (self.view_size, self.view_size)) * 2 - 1)
        position, heat = expected_positions(self.heat(features))
        matrices = self.matrix(features).unflatten(1, (self.keypoints, 4))
        matrix = (matrices * heat.unsqueeze(2)).sum((-1, -2))
        return torch.cat([position, matrix], -1).flatten(1)
