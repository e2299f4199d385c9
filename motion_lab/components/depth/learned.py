"""Hierarchical depth cues learned together with the rest of the base model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock, resize


class LearnedDepth(nn.Module):
    """Layer probabilities of the appearance volume at half, equal and double its size.

    (B, CS, DF, h, w) → [(B, DF, h/2, w/2), (B, DF, h, w), (B, DF, 2h, 2w)], each a softmax over DF.
    Every scale refines the logits of the one before.
    """

    scales = (0.5, 1.0, 2.0)

    def __init__(self, channels: int = 16, layers: int = 4, width: int = 32) -> None:
        super().__init__()
        self.trunk = ConvBlock(channels * layers, width)
        self.refine = nn.ModuleList(ConvBlock(width + layers, width) for _ in self.scales[1:])
        self.logits = nn.ModuleList(nn.Conv2d(width, layers, 1) for _ in self.scales)

    def forward(self, volume: Tensor) -> list[Tensor]:
        h, w = volume.shape[-2:]
        trunk = self.trunk(volume.flatten(1, 2))
        cues: list[Tensor] = []
        logits: Tensor | None = None
        for index, scale in enumerate(self.scales):
            size = (int(h * scale), int(w * scale))
            features = resize(trunk, size)
            if logits is None:
                logits = self.logits[index](features)
            else:
                coarser = resize(logits, size)
                features = self.refine[index - 1](torch.cat([features, coarser], 1))
                logits = coarser + self.logits[index](features)
            cues.append(logits.softmax(1))
        return cues
