"""No audio."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NoAudio(nn.Module):
    """Audio features (B, N, features) → the same learned context (B, N, width) for every frame.

    The ablation without audio: the rest of the model is as it was, and hears nothing.
    """

    window: int | None = 0

    def __init__(self, features: int = 320, width: int = 32) -> None:
        super().__init__()
        self.context = width
        self.constant = nn.Parameter(torch.zeros(width))

    def forward(self, features: Tensor) -> Tensor:
        return self.constant.expand(*features.shape[:2], -1)
