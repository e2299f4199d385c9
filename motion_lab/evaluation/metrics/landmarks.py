"""Points of the face, found by a network, and AKD, how far generated ones are from real ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.faces import CropMode, FaceCrop
from motion_lab.evaluation.lab import landmarks
from motion_lab.evaluation.lab.frames import batches
from motion_lab.evaluation.metrics.backbones import lab, published
from motion_lab.evaluation.metrics.mean import Mean
from motion_lab.evaluation.metrics.metric import Better, Need, both
from motion_lab.foreign_weights import load_script


class Points(NamedTuple):
    """Points of the face in each frame of a clip."""

    places: Tensor  # (F, L, 2), x and y in fractions of the frame; of no meaning where not found
    found: Tensor  # (F,) bool


class Finder(Protocol):
    """Finds points in frames."""

    def protocol(self) -> dict[str, Any]:
        """The network and its crop, as JSON."""
        ...

    def __call__(self, frames: Tensor) -> Points:
        """(F, 3, S, S) uint8 → points."""
        ...


class FanFinder:
    """The 68 points of a face-alignment network (Bulat and Tzimiropoulos, "How far are we from
    solving the 2D & 3D face alignment problem?", 2017).

    Args:
        weights: its TorchScript file, such as ``2DFAN4-cd938726ad.zip``: faces (B, 3, 256, 256) in
            [0, 1] to heat maps (B, L, 64, 64).
        crop: "face" to look for faces; "whole" where frames are such crops already.
        device: where to compute.
    """

    def __init__(self, weights: str, crop: CropMode, device: torch.device | str) -> None:
        self._weights, self._device = Path(weights), device
        self._network = load_script(self._weights, "a face-alignment network (FAN)").to(device)
        # Its crop around the box of S3FD, taken as for SyncNet; see metrics/sync.py.
        self._crop = FaceCrop(256, side=2.2, below=0.06, mode=crop)

    def protocol(self) -> dict[str, Any]:
        """The network and its crop."""
        return {**published("face alignment (FAN)", self._weights), **self._crop.protocol()}

    def __call__(self, frames: Tensor) -> Points:
        """Points where a face is found."""
        crops = self._crop(frames)
        rows = []
        for some in batches(crops.images, self._device):
            heat = self._network(some)
            rows.append(peaks(heat[-1] if isinstance(heat, list | tuple) else heat).cpu())
        inside = torch.cat(rows) if rows else torch.zeros(0, 1, 2)
        places = torch.zeros(len(frames), *inside.shape[1:])
        places[crops.kept] = crops.corner[:, None] + inside * crops.side[:, None, None]
        return Points(places, crops.kept)


class LabFinder:
    """The points of the small network that ships, on heads framed as Motion Lab does."""

    def __init__(self, device: torch.device | str) -> None:
        self._network = landmarks.load(device)

    def protocol(self) -> dict[str, Any]:
        """The network and its crop."""
        return {**lab("landmarks"), "crop": f"whole frames at {landmarks.SIZE}"}

    def __call__(self, frames: Tensor) -> Points:
        """Points where the network is sure of them."""
        seen = self._network.track(frames)
        return Points(seen.points.cpu(), landmarks.found(seen).cpu())


def peaks(heat: Tensor) -> Tensor:
    """Where heat maps (B, L, h, w) are highest: (B, L, 2), x and y in fractions of the map.

    A quarter of a cell towards the higher neighbour, as FAN's own code has it.
    """
    height, width = heat.shape[-2:]
    flat = heat.flatten(2).argmax(-1)
    x, y = flat % width, flat // width

    def towards(position: Tensor, size: int, step: int) -> Tensor:
        inside = (position > 0) & (position < size - 1)
        lower, upper = ((flat + way).clamp(0, height * width - 1) for way in (-step, step))
        values = [heat.flatten(2).gather(2, at[..., None])[..., 0] for at in (lower, upper)]
        return 0.25 * (values[1] - values[0]).sign() * inside

    fine = (x + towards(x, width, 1) + 0.5) / width, (y + towards(y, height, width) + 0.5) / height
    return torch.stack(fine, -1)


class Akd:
    """Average keypoint distance: mean absolute error of the points' coordinates, in pixels of a
    256-pixel frame. Frames in which either face is not found are dropped and counted.

    Siarohin et al., "Animating arbitrary objects via deep motion transfer", 2019.

    Args:
        weights: the TorchScript file of a face-alignment network; see :class:`FanFinder`.
        crop: "face" to look for faces; "whole" where frames are crops already.
        device: where to compute.
    """

    scores: ClassVar[Mapping[str, Better]] = {"akd": "lower"}
    needs: ClassVar[frozenset[Need]] = frozenset({"pair"})

    def __init__(
        self, weights: str, crop: CropMode = "face", device: torch.device | str = "cpu"
    ) -> None:
        self._find: Finder = FanFinder(weights, crop, device)
        self._mean = Mean()

    def protocol(self) -> dict[str, Any]:
        """Backbone, crop and unit."""
        unit = "mean absolute difference of coordinates, pixels of a 256-pixel frame"
        return {**self._find.protocol(), "distance": unit, "mean": "over frames with both faces"}

    def add(self, generated: Clip | None, reference: Clip | None) -> None:
        """Take in a pair."""
        generated, reference = both(generated, reference)
        a, b = self._find(generated.frames), self._find(reference.frames)
        error = torch.full((len(a.places),), torch.nan)
        seen = a.found & b.found
        if seen.any():
            error[seen] = 256 * (a.places[seen] - b.places[seen]).abs().mean((1, 2))
        self._mean.add(error)

    def compute(self) -> dict[str, float]:
        """The mean, over how many frames, and how many lacked a face."""
        (name,) = self.scores
        return self._mean.scored(name, "frames")


class AkdLab(Akd):
    """The same by the small network that ships."""

    scores: ClassVar[Mapping[str, Better]] = {"akd[lab]": "lower"}

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._find = LabFinder(device)
        self._mean = Mean()
