"""`face`: who it is, whatever the pose, the expression and the light."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock, resize
from motion_lab.evaluation.lab.frames import batches
from motion_lab.evaluation.lab.weights import load_network

SIZE = 64
"""Pixels of the square at which the network looks at a frame."""


class FaceNet(nn.Module):
    """Frames (B, 3, S, S) in [0, 1] → unit vectors (B, E) that agree for pictures of one person.

    Trained by contrast between people of a batch (Khosla et al., "Supervised contrastive
    learning", 2020).
    """

    def __init__(self, width: int = 24, embedding: int = 128) -> None:
        super().__init__()
        w = width
        self.embedding = embedding
        self.body = nn.Sequential(
            ConvBlock(3, w, 2),
            ConvBlock(w, 2 * w, 2),
            ConvBlock(2 * w, 2 * w),
            ConvBlock(2 * w, 4 * w, 2),
            ConvBlock(4 * w, 4 * w),
            ConvBlock(4 * w, 4 * w, 2),
        )
        # By quarters of the picture: hair above and chin below are different things.
        self.out = nn.Linear(16 * w, embedding)

    def forward(self, image: Tensor) -> Tensor:
        features = self.body(resize(image, (SIZE, SIZE)) - 0.5)
        return F.normalize(self.out(resize(features, (2, 2)).flatten(1)), dim=1)

    @torch.no_grad()
    def embed(self, frames: Tensor, batch: int = 128) -> Tensor:
        """Embeddings (F, E) of a clip (F, 3, S, S), uint8 or floats in [0, 1]."""
        return torch.cat(
            [self(some) for some in batches(frames, next(self.parameters()).device, batch)]
        )


def load(device: torch.device | str = "cpu") -> FaceNet:
    """The shipped network, in evaluation mode without gradients."""
    network: FaceNet = load_network("face", device)
    return network
