"""GRU: what the whole track says about each frame, by recurrence."""

from __future__ import annotations

from torch import Tensor, nn


class GRUExtractor(nn.Module):
    """Audio features (B, N, features) → context (B, N, width), each frame aware of all others.

    `layers` residual blocks, each a gated recurrent unit (Cho et al., arXiv 1406.1078) in either
    direction, summed. Block for block it has about as many parameters as Mamba-g.
    """

    window: int | None = None

    def __init__(self, features: int = 320, width: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.context = width
        self.embed = nn.Linear(features, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        x = self.embed(features)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.both = nn.GRU(width, width, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        forth, back = self.both(self.norm(x))[0].chunk(2, dim=2)
        return x + forth + back
