"""`video`: how a face moves over 16 frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock1d, resize
from motion_lab.components.perceptual.lab_features import LabFeatures
from motion_lab.evaluation.lab import features
from motion_lab.evaluation.lab.frames import batches
from motion_lab.evaluation.lab.weights import load_network

FRAMES = 16
"""Frames of a window, 0.64 s."""
_PLANE = (4, 4)  # cells in which the feature maps of a frame are averaged


class VideoNet(nn.Module):
    """Layouts of 16 frames (B, 16, C), see :func:`layouts` → embeddings (B, E).

    Convolutions over time on what each part of the frame shows; trained to tell how time was
    tampered with, how much the head and the mouth move, and how much the frames were harmed.
    """

    def __init__(self, inputs: int = 1024, width: int = 64, embedding: int = 64) -> None:
        super().__init__()
        self.embedding = embedding
        self.read = nn.Sequential(nn.BatchNorm1d(inputs), nn.Conv1d(inputs, width, 1))
        self.time = nn.Sequential(
            *(ConvBlock1d(width, width, dilation=dilation) for dilation in (1, 1, 2, 4))
        )
        self.out = nn.Linear(4 * width, embedding)

    def forward(self, layouts: Tensor) -> Tensor:
        still = self.read(layouts.mT)
        moving = self.time(still)
        # What is shown, how much it varies, and the mean and the peak of what happens.
        # The root's slope is infinite at zero, where all frames are one.
        varied = (still.var(2) + 1e-4).sqrt()
        summary = (still.mean(2), varied, moving.mean(2), moving.amax(2))
        return self.out(torch.cat(summary, 1))

    @torch.no_grad()
    def embed(self, frames: Tensor, network: LabFeatures, stride: int = 8) -> Tensor:
        """Embeddings (N, E) of the windows of a clip that begin every ``stride`` frames.

        Args:
            frames: (F, 3, S, S) uint8, or floats in [0, 1], at 25 a second; F at least 16.
            network: of :func:`motion_lab.evaluation.lab.features.load`.
        """
        if len(frames) < FRAMES:
            raise ValueError(f"a clip needs at least {FRAMES} frames, got {len(frames)}")
        seen = layouts(network, frames)
        return self(seen.unfold(0, FRAMES, stride).mT)


def load(device: torch.device | str = "cpu") -> VideoNet:
    """The shipped network, in evaluation mode without gradients."""
    network: VideoNet = load_network("video", device)
    return network


@torch.no_grad()
def layouts(network: LabFeatures, frames: Tensor, batch: int = 64) -> Tensor:
    """What each of 4 × 4 parts of frames (F, 3, S, S), uint8 or floats in [0, 1], shows: (F, C),
    the averages of the map at an eighth of 96 × 96 pixels.
    """
    rows = []
    for some in batches(frames, next(network.parameters()).device, batch):
        seen = network(resize(some, (features.SIZE, features.SIZE)))[3]
        rows.append(F.adaptive_avg_pool2d(seen, _PLANE).flatten(1))
    return torch.cat(rows)
