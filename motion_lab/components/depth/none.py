"""The ablation without depth cues."""

from __future__ import annotations

from torch import Tensor, nn


class NoDepth(nn.Module):
    """Every depth layer gets the same probability, at the scales of ``learned``.

    (B, CS, DF, h, w) → [(B, DF, h/2, w/2), (B, DF, h, w), (B, DF, 2h, 2w)], all 1/DF.
    """

    scales = (0.5, 1.0, 2.0)

    def __init__(self, channels: int = 16, layers: int = 4) -> None:
        super().__init__()

    def forward(self, volume: Tensor) -> list[Tensor]:
        batch, _, layers, h, w = volume.shape
        return [
            volume.new_full((batch, layers, int(h * s), int(w * s)), 1 / layers)
            for s in self.scales
        ]
