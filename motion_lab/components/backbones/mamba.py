"""Mamba denoiser of motion windows."""

from __future__ import annotations

from torch import Tensor, nn

from motion_lab.components.backbones._denoiser import Denoiser, DenoiserBlock, branch
from motion_lab.components.mamba import MambaMixer


class MambaDenoiser(Denoiser):
    """Noisy motion (B, W, M), t (B,), audio (B, W, context), source, past → clean motion (B, W, M).

    Tokens and conditions are those of the transformer denoiser. A block is a Mamba mixer (Gu &
    Dao, arXiv 2312.00752) in either direction, which with `expand` 2 has about as many parameters
    as attention and feed-forward layer together and takes the place of both. Its cost is linear in
    the window, and any length runs.
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
        state: int = 8,
        expand: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(motion_size, source_size, width, branches=1)
        self.blocks = nn.ModuleList(
            _Block(width, context, state, expand, dropout) for _ in range(layers)
        )

    def forward(
        self, noisy: Tensor, t: Tensor, audio: Tensor, source: Tensor, past: Tensor
    ) -> Tensor:
        x, audio, modulation = self.embed(noisy, t, audio, source, past)
        for block in self.blocks:
            x = block(x, audio, modulation)
        return self.read(x, noisy.shape[1])


class _Block(DenoiserBlock):
    def __init__(self, width: int, context: int, state: int, expand: int, dropout: float) -> None:
        super().__init__(width, context, branches=1)
        self.forth = MambaMixer(width, state=state, expand=expand)
        self.back = MambaMixer(width, state=state, expand=expand, reverse=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, audio: Tensor, modulation: Tensor) -> Tensor:
        (mixing,) = self.steer(modulation)
        x = x + self.listen(audio)
        return branch(x, mixing, lambda y: self.dropout(self.forth(y) + self.back(y)))
