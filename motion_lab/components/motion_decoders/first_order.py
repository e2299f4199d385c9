"""First-order motion around keypoints behind the LMDD's interface (arXiv 2003.00196)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from motion_lab.components.blocks import (
    ConvBlock,
    ResBlock,
    expected_positions,
    pixel_centres,
    resize,
)
from motion_lab.components.protocols import MotionField


class FirstOrderDecoder(nn.Module):
    """Local affine motion of K keypoints, blended by predicted weights.

    Reads the deviation (B, 6·K) as a shift and a change of the 2×2 matrix for each keypoint and
    finds the keypoints of the source in its volume. Near the driving keypoint p + shift the field
    is p + (I + change)(z − p − shift); one more, resting, field stands for the background.
    Same call and results as :class:`~motion_lab.components.motion_decoders.lmdd.LMDD`; every depth
    layer moves alike, z is zero.
    """

    scales = (0.5, 1.0, 2.0)

    def __init__(
        self, channels: int = 16, layers: int = 4, motion_size: int = 60, width: int = 48
    ) -> None:
        super().__init__()
        if motion_size % 6:
            raise ValueError(f"motion_size must be a multiple of 6, got {motion_size}")
        self.layers, self.keypoints = layers, motion_size // 6
        self.heat = nn.Conv2d(channels * layers, self.keypoints, 7, 1, 3)
        self.entry = ConvBlock(channels * layers + self.keypoints, width)
        self.body = ResBlock(width)
        self.weight = nn.Conv2d(width, self.keypoints + 1, 3, 1, 1)
        self.hidden = nn.Conv2d(width, 1, 3, 1, 1)
        assert self.hidden.bias is not None
        nn.init.constant_(self.hidden.bias, -4.0)

    def forward(
        self, volume: Tensor, depth: Sequence[Tensor], deviation: Tensor
    ) -> list[MotionField]:
        h, w = volume.shape[-2:]
        layered = (volume * depth[1].unsqueeze(1)).flatten(1, 2)
        source, _ = expected_positions(self.heat(layered))
        shift, change = deviation.unflatten(1, (self.keypoints, 6)).split((2, 4), -1)
        grid = pixel_centres(h, w, volume)
        offset = grid - (source + shift)[:, :, None, None]
        matrix = change.unflatten(-1, (2, 2))
        moved = torch.einsum("bkij,bkhwj->bkhwi", matrix, offset) - shift[:, :, None, None]
        heat = torch.exp(-offset.square().sum(-1) / 0.02) - torch.exp(
            -(grid - source[:, :, None, None]).square().sum(-1) / 0.02
        )
        features = self.body(self.entry(torch.cat([layered, heat], 1)))
        weight = self.weight(features).softmax(1)
        plane = (weight[:, 1:].unsqueeze(-1) * moved).sum(1).movedim(-1, 1)
        kept = torch.sigmoid(-self.hidden(features))
        return [self._field(plane, kept, (int(h * s), int(w * s))) for s in self.scales]

    def _field(self, plane: Tensor, kept: Tensor, size: tuple[int, int]) -> MotionField:
        flat = resize(plane, size).movedim(1, -1)
        displacement = torch.cat([flat, flat.new_zeros(*flat.shape[:-1], 1)], -1)
        layered = displacement.unsqueeze(1).expand(-1, self.layers, -1, -1, -1)
        weight = flat.new_full((len(flat), self.layers, *size), 1 / self.layers)
        return MotionField(layered, weight, resize(kept, size))
