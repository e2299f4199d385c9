"""Transformer: what the whole track says about each frame, by attention."""

from __future__ import annotations

from torch import Tensor, nn

from motion_lab.components.sequence import (
    check_heads,
    feed_forward,
    rotary_attention,
    rotary_turns,
)


class TransformerExtractor(nn.Module):
    """Audio features (B, N, features) → context (B, N, width), each frame aware of all others.

    `layers` blocks of attention and feed-forward layer, normalised beforehand (Xiong et al.,
    arXiv 2002.04745), with rotary positions (Su et al., arXiv 2104.09864). Its cost is quadratic
    in N. Block for block it has as many parameters as Mamba-g.
    """

    window: int | None = None

    def __init__(
        self,
        features: int = 320,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        expand: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.context = width
        self.head_size = width // heads
        self.embed = nn.Linear(features, width)
        self.blocks = nn.ModuleList(_Block(width, heads, expand, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        x = self.embed(features)
        turns = rotary_turns(0, x.shape[1], self.head_size).to(x)
        for block in self.blocks:
            x = block(x, turns)
        return self.norm(x)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, expand: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.norm_attention = nn.LayerNorm(width)
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = feed_forward(width, expand * width, dropout)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        projected = self.project_in(self.norm_attention(x))
        x = x + self.project_out(rotary_attention(projected, turns, self.heads, dropout))
        return x + self.mlp(self.norm_mlp(x))
