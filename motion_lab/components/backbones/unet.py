"""1-D U-Net denoiser of motion windows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from motion_lab.components.backbones._denoiser import Denoiser, DenoiserBlock, branch


class UNetDenoiser(Denoiser):
    """Noisy motion (B, W, M), t (B,), audio (B, W, context), source, past → clean motion (B, W, M).

    Tokens and conditions are those of the transformer denoiser. Convolutions over time see the
    window at `levels` halvings of its rate, down and up again, with skip connections (Ronneberger
    et al., arXiv 1505.04597; over time, Janner et al., arXiv 2205.09991). `levels` 2 has about as
    many parameters as four transformer layers of this width, `levels` 1 as two. Any length runs.
    """

    def __init__(
        self,
        motion_size: int = 64,
        context: int = 256,
        source_size: int = 64,
        previous: int = 4,
        window: int = 50,
        width: int = 128,
        levels: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(motion_size, source_size, width, branches=1)

        def blocks(count: int) -> nn.ModuleList:
            return nn.ModuleList(_Block(width, context, dropout) for _ in range(count))

        self.down, self.up = blocks(levels), blocks(levels)
        self.middle = _Block(width, context, dropout)
        self.halve = nn.ModuleList(_Convolution(width, width, stride=2) for _ in range(levels))
        self.merge = nn.ModuleList(_Convolution(2 * width, width) for _ in range(levels))

    def forward(
        self, noisy: Tensor, t: Tensor, audio: Tensor, source: Tensor, past: Tensor
    ) -> Tensor:
        x, audio, modulation = self.embed(noisy, t, audio, source, past)
        skips = []
        for block, halve in zip(self.down, self.halve, strict=True):
            x = block(x, audio, modulation)
            skips.append((x, audio))
            x = halve(x)
            audio = F.avg_pool1d(audio.transpose(1, 2), 2, ceil_mode=True).transpose(1, 2)
        x = self.middle(x, audio, modulation)
        for block, merge in zip(self.up, self.merge, strict=True):
            skip, audio = skips.pop()
            wide = x.repeat_interleave(2, dim=1)[:, : skip.shape[1]]
            x = block(merge(torch.cat([wide, skip], dim=2)), audio, modulation)
        return self.read(x, noisy.shape[1])


class _Block(DenoiserBlock):
    def __init__(self, width: int, context: int, dropout: float) -> None:
        super().__init__(width, context, branches=1)
        self.body = nn.Sequential(
            _Convolution(width, width), nn.SiLU(), nn.Dropout(dropout), _Convolution(width, width)
        )

    def forward(self, x: Tensor, audio: Tensor, modulation: Tensor) -> Tensor:
        (mixing,) = self.steer(modulation)
        return branch(x + self.listen(audio), mixing, self.body)


class _Convolution(nn.Conv1d):
    """Over three neighbours in time, (B, L, inputs) → (B, ceil(L / stride), outputs)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)
