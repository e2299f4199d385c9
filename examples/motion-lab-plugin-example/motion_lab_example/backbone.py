"""A small convolutional denoiser."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class GatedConv(nn.Module):
    """Noisy motion (B, W, M), step t (B,), audio (B, W, context), source (B, source_size), past
    (B, previous, M) → clean motion (B, W, M).

    ``layers`` residual convolutions over the past and the window together, each dilated twice as
    far as the one before and gated as in WaveNet (arXiv 1609.03499, 2.3). All sizes but ``width``
    and ``layers`` are passed in by the motion model.
    """

    def __init__(
        self,
        motion_size: int = 64,
        context: int = 256,
        source_size: int = 64,
        previous: int = 4,
        window: int = 50,
        width: int = 64,
        layers: int = 4,
    ) -> None:
        super().__init__()
        self.width = width
        self.embed_motion = nn.Linear(motion_size, width)
        self.embed_past = nn.Linear(motion_size, width)
        self.embed_audio = nn.Linear(context, width)
        self.embed_source = nn.Linear(source_size, width)
        self.embed_time = nn.Linear(width, width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, 2 * width, 3, padding=2**i, dilation=2**i) for i in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, motion_size)

    def forward(
        self, noisy: Tensor, t: Tensor, audio: Tensor, source: Tensor, past: Tensor
    ) -> Tensor:
        window = self.embed_motion(noisy) + self.embed_audio(audio)
        x = torch.cat([self.embed_past(past), window], dim=1)
        steer = self.embed_time(_waves(t, self.width)) + self.embed_source(source)
        x = (x + steer[:, None]).transpose(1, 2)
        for convolution in self.convolutions:
            value, gate = convolution(x).chunk(2, dim=1)
            x = x + value.tanh() * gate.sigmoid()
        x = x[:, :, past.shape[1] :].transpose(1, 2)
        return self.predict(self.norm(x))


def _waves(t: Tensor, width: int) -> Tensor:
    """Sines and cosines of t (B,) at rates from 1 to 1e-4: (B, width)."""
    half = width // 2
    rates = torch.exp(-math.log(1e4) * torch.arange(half, device=t.device) / half)
    angles = t.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
