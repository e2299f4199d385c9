"""`features`: the maps of ``perceptual/lab_features``, pooled to an embedding of a frame."""

from __future__ import annotations

import torch
from torch import Tensor

from motion_lab.components.blocks import resize
from motion_lab.components.perceptual.lab_features import LabFeatures
from motion_lab.evaluation.lab.frames import batches
from motion_lab.evaluation.lab.weights import load_network

SIZE = 96
"""Pixels at which frames are embedded, whatever their own size."""


def load(device: torch.device | str = "cpu") -> LabFeatures:
    """The shipped network, in evaluation mode without gradients."""
    network: LabFeatures = load_network("features", device)
    return network


@torch.no_grad()
def embed(network: LabFeatures, frames: Tensor, batch: int = 64) -> Tensor:
    """Embeddings (F, E) of frames (F, 3, S, S), uint8 or floats in [0, 1], for Fréchet distances.

    The means over the image of all five maps but the first: blur and noise show in the fine ones,
    what is in the picture in the coarse ones.
    """
    rows = []
    for some in batches(frames, next(network.parameters()).device, batch):
        maps = network(resize(some, (SIZE, SIZE)))
        rows.append(torch.cat([m.mean((2, 3)) for m in maps[1:]], 1))
    return torch.cat(rows)
