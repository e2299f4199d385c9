"""How protocols name the network behind a score."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from motion_lab.evaluation.lab.weights import weights_file
from motion_lab.models.weights import fingerprint


def published(what: str, path: str | Path) -> dict[str, str]:
    """A published network, from the file at `path`."""
    return {"backbone": what, "sha256": fingerprint(Path(path))}


def lab(name: str) -> dict[str, str]:
    """One of the small networks that ship, by its name in ``evaluation.lab``."""
    return published(f"lab {name}, trained on synthetic heads", weights_file(name))


def batches(frames: Tensor, device: torch.device | str, size: int = 32) -> Iterator[Tensor]:
    """8-bit frames (F, 3, S, S) on the device, as numbers in [0, 1], a few at a time."""
    for some in frames.split(size):
        yield some.to(device).float() / 255
