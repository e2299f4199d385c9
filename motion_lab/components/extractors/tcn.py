"""TCN: what a frame's neighbourhood says about it, by convolution."""

from __future__ import annotations

from torch import Tensor, nn


class TCNExtractor(nn.Module):
    """Audio features (B, N, features) → context (B, N, width) from `window` frames on either side.

    `layers` residual blocks of convolutions over three frames 1, 2, 4, … apart (Bai et al.,
    "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence
    Modeling", arXiv 1803.01271; here with as many frames to come as gone by), so that
    `window` = 2^layers - 1. Beyond the track's ends lie zeros.
    """

    def __init__(
        self,
        features: int = 320,
        width: int = 128,
        layers: int = 3,
        expand: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.window = 2**layers - 1
        self.context = width
        self.embed = nn.Linear(features, width)
        self.blocks = nn.ModuleList(
            _Block(width, expand * width, 2**layer, dropout) for layer in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        x = self.embed(features)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class _Block(nn.Module):
    def __init__(self, width: int, inner: int, apart: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.body = nn.Sequential(
            nn.Conv1d(width, inner, 3, padding=apart, dilation=apart),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Conv1d(inner, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(self.norm(x).transpose(1, 2)).transpose(1, 2)
