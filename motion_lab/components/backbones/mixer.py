"""MLP-mixer denoiser of motion windows."""

from __future__ import annotations

from torch import Tensor, nn

from motion_lab.components.backbones._denoiser import Denoiser, DenoiserBlock, branch
from motion_lab.components.sequence import feed_forward


class MixerDenoiser(Denoiser):
    """Noisy motion (B, W, M), t (B,), audio (B, W, context), source, past → clean motion (B, W, M).

    Tokens and conditions are those of the transformer denoiser; what attention does there, a
    feed-forward layer over the time axis does here, the same for every channel (Tolstikhin et al.,
    "MLP-Mixer", arXiv 2105.01601). Its weights belong to positions, so it takes windows of exactly
    `window` frames after `previous`. With `mix` 4 it has about as many parameters as attention.
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
        mix: int = 4,
        expand: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(motion_size, source_size, width, branches=2)
        self.previous, self.window = previous, window
        self.blocks = nn.ModuleList(
            _Block(width, context, previous + window, mix, expand, dropout) for _ in range(layers)
        )

    def forward(
        self, noisy: Tensor, t: Tensor, audio: Tensor, source: Tensor, past: Tensor
    ) -> Tensor:
        if (past.shape[1], noisy.shape[1]) != (self.previous, self.window):
            raise ValueError(
                f"the mixer was built for {self.previous} past frames and a window of "
                f"{self.window}, got {past.shape[1]} and {noisy.shape[1]}"
            )
        x, audio, modulation = self.embed(noisy, t, audio, source, past)
        for block in self.blocks:
            x = block(x, audio, modulation)
        return self.read(x, noisy.shape[1])


class _Block(DenoiserBlock):
    def __init__(
        self, width: int, context: int, tokens: int, mix: int, expand: int, dropout: float
    ) -> None:
        super().__init__(width, context, branches=2)
        self.mix = feed_forward(tokens, mix * width, dropout)
        self.mlp = feed_forward(width, expand * width, dropout)

    def forward(self, x: Tensor, audio: Tensor, modulation: Tensor) -> Tensor:
        mixing, mlp = self.steer(modulation)
        x = x + self.listen(audio)
        x = branch(x, mixing, lambda y: self.mix(y.transpose(1, 2)).transpose(1, 2))
        return branch(x, mlp, self.mlp)
