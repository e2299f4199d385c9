"""Transformer denoiser of motion windows."""

from __future__ import annotations

from torch import Tensor, nn

from motion_lab.components.backbones._denoiser import Denoiser, DenoiserBlock, branch
from motion_lab.components.sequence import (
    check_heads,
    feed_forward,
    rotary_attention,
    rotary_turns,
)


class TransformerDenoiser(Denoiser):
    """Noisy motion (B, W, M), t (B,), audio (B, W, context), source, past → clean motion (B, W, M).

    The tokens are the `previous` past frames, then those of the window; audio is added to its
    frame's token before every block. t and the source (B, source_size) reach the blocks by
    adaptive layer norm (Peebles & Xie, arXiv 2212.09748). Positions are rotary (Su et al.,
    arXiv 2104.09864) and so only relative: `window` states the length that training will use, and
    any other length runs.
    """

    def __init__(
        self,
        motion_size: int = 64,
        context: int = 256,
        source_size: int = 64,
        previous: int = 4,
        window: int = 50,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        expand: int = 4,
        dropout: float = 0.1,
    ) -> None:
        check_heads(width, heads)
        super().__init__(motion_size, source_size, width, branches=2)
        self.blocks = nn.ModuleList(
            _Block(width, context, heads, expand, dropout) for _ in range(layers)
        )
        self.turns: Tensor
        turns = rotary_turns(previous, window, width // heads)
        self.register_buffer("turns", turns, persistent=False)

    def forward(
        self, noisy: Tensor, t: Tensor, audio: Tensor, source: Tensor, past: Tensor
    ) -> Tensor:
        x, audio, modulation = self.embed(noisy, t, audio, source, past)
        turns = self.turns
        if len(turns) != x.shape[1]:
            turns = rotary_turns(past.shape[1], noisy.shape[1], 2 * turns.shape[1]).to(turns)
        for block in self.blocks:
            x = block(x, audio, modulation, turns)
        return self.read(x, noisy.shape[1])


class _Block(DenoiserBlock):
    def __init__(self, width: int, context: int, heads: int, expand: int, dropout: float) -> None:
        super().__init__(width, context, branches=2)
        self.heads = heads
        self.dropout = dropout
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)
        self.mlp = feed_forward(width, expand * width, dropout)

    def forward(self, x: Tensor, audio: Tensor, modulation: Tensor, turns: Tensor) -> Tensor:
        attention, mlp = self.steer(modulation)
        x = x + self.listen(audio)
        x = branch(x, attention, lambda y: self._attend(y, turns))
        return branch(x, mlp, self.mlp)

    def _attend(self, x: Tensor, turns: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return self.project_out(rotary_attention(self.project_in(x), turns, self.heads, dropout))
