"""Transformer denoiser of motion windows."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TransformerDenoiser(nn.Module):
    """Noisy motion (B, W, M), t (B,), audio (B, W, context), source, past → clean motion (B, W, M).

    The tokens are the `previous` past frames, then those of the window; audio is added to its
    frame's token before every block. t and the source (B, source_size) reach the blocks by
    adaptive layer norm (Peebles & Xie, arXiv 2212.09748), whose projection the blocks share, each
    adding an offset of its own (Chen et al., arXiv 2310.00426). Positions are rotary (Su et al.,
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
        super().__init__()
        if width % (2 * heads):
            raise ValueError(
                f"width must be a multiple of 2 * heads, so that rotary positions can turn pairs "
                f"of numbers; got width {width} and {heads} heads"
            )
        self.width = width
        self.embed_motion = nn.Linear(motion_size, width)
        self.embed_past = nn.Linear(motion_size, width)
        self.embed_time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.embed_source = nn.Linear(source_size, width)
        self.modulate = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(
            _Block(width, context, heads, expand, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, motion_size)
        # Small, so that the first prediction is near the mean and the blocks near their offsets.
        nn.init.normal_(self.modulate.weight, std=0.02)
        nn.init.zeros_(self.modulate.bias)
        nn.init.normal_(self.predict.weight, std=0.02)
        turns = rotary_turns(previous, window, width // heads)
        self.turns: Tensor
        self.register_buffer("turns", turns, persistent=False)

    def forward(
        self, noisy: Tensor, t: Tensor, audio: Tensor, source: Tensor, past: Tensor
    ) -> Tensor:
        previous, window = past.shape[1], noisy.shape[1]
        x = torch.cat([self.embed_past(past), self.embed_motion(noisy)], dim=1)
        condition = self.embed_time(time_features(t, self.width)) + self.embed_source(source)
        modulation = self.modulate(F.silu(condition)).unflatten(1, (1, 6, self.width))
        turns = self.turns
        if len(turns) != previous + window:
            turns = rotary_turns(previous, window, 2 * turns.shape[1]).to(turns)
        audio = F.pad(audio, (0, 0, previous, 0))
        for block in self.blocks:
            x = block(x, audio, modulation, turns)
        return self.predict(self.norm(x[:, previous:]))


class _Block(nn.Module):
    def __init__(self, width: int, context: int, heads: int, expand: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.offset = nn.Parameter(torch.zeros(6, width))
        with torch.no_grad():
            self.offset[2::3] = 0.5  # the two gates: open from the start
        self.listen = nn.Linear(context, width)
        self.norm_attention = nn.LayerNorm(width, elementwise_affine=False)
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, expand * width),
            nn.GELU(approximate="tanh"),
            nn.Dropout(dropout),
            nn.Linear(expand * width, width),
        )

    def forward(self, x: Tensor, audio: Tensor, modulation: Tensor, turns: Tensor) -> Tensor:
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = (modulation + self.offset).unbind(2)
        x = x + self.listen(audio)
        x = x + gate_1 * self._attend(self.norm_attention(x) * (1 + scale_1) + shift_1, turns)
        return x + gate_2 * self.mlp(self.norm_mlp(x) * (1 + scale_2) + shift_2)

    def _attend(self, x: Tensor, turns: Tensor) -> Tensor:
        q, k, v = self.project_in(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(
            rotate(q, turns), rotate(k, turns), v, dropout_p=self.dropout if self.training else 0.0
        )
        return self.project_out(y.transpose(1, 2).flatten(2))


def time_features(t: Tensor, width: int) -> Tensor:
    """Sines and cosines of t (B,), wavelengths 2π..2π·10⁴: (B, width) (arXiv 1706.03762, 3.5)."""
    half = width // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angles = t.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def rotary_turns(previous: int, window: int, size: int) -> Tensor:
    """Cosine and sine by which position p in -previous..window-1 turns pair i of a head's
    numbers, p · 10000^(-2i / size): (previous + window, size / 2, 2)."""
    rates = 10_000 ** (-torch.arange(0, size, 2) / size)
    angles = torch.arange(-previous, window)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()], dim=2)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """x (B, heads, L, size), the pairs (i, i + size / 2) turned by their position."""
    a, b = x.chunk(2, dim=3)
    cos, sin = turns.to(x.dtype).unbind(2)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=3)
