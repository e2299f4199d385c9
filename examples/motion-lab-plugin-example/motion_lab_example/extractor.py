"""A small convolutional extractor."""

from __future__ import annotations

from torch import Tensor, nn


class Pulse(nn.Module):
    """Audio features (B, N, features) → context (B, N, width) from 1 + 2 + … frames on each side.

    ``layers`` convolutions of three taps, each dilated twice as far as the one before, with
    residual connections. ``features`` is passed in by the motion model.
    """

    def __init__(self, features: int = 320, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.context = width
        self.window = 2**layers - 1
        self.embed = nn.Linear(features, width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=2**i, dilation=2**i) for i in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        x = self.embed(features).transpose(1, 2)
        for convolution in self.convolutions:
            x = x + nn.functional.gelu(convolution(x))
        return self.norm(x.transpose(1, 2))
