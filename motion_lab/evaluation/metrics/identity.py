"""CSIM: whether generated frames still show the person of the portrait."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.faces import CropMode, FaceCrop
from motion_lab.evaluation.lab import face
from motion_lab.evaluation.lab.frames import batches
from motion_lab.evaluation.metrics.backbones import lab, published
from motion_lab.evaluation.metrics.mean import Mean
from motion_lab.evaluation.metrics.metric import Better, Need, both
from motion_lab.evaluation.published import arcface


class _Csim(ABC):
    """Mean cosine between the reference's first frame, the portrait, and each generated frame."""

    scores: ClassVar[Mapping[str, Better]]
    needs: ClassVar[frozenset[Need]] = frozenset({"pair"})

    def __init__(self, device: torch.device | str) -> None:
        self._device = device
        self._mean = Mean()

    def protocol(self) -> dict[str, Any]:
        """The comparison; subclasses add backbone and crop."""
        return {"against": "the reference's first frame", "mean": "over frames with a face"}

    @abstractmethod
    def embed(self, frames: Tensor) -> Tensor:
        """(F, 3, S, S) uint8 → (F, D), NaN where there is no face."""

    def add(self, generated: Clip | None, reference: Clip | None) -> None:
        """Take in a pair."""
        generated, reference = both(generated, reference)
        portrait = self.embed(reference.frames[:1])
        self._mean.add(F.cosine_similarity(self.embed(generated.frames), portrait))

    def compute(self) -> dict[str, float]:
        """The mean, over how many frames, and how many had no face (or their portrait none)."""
        (name,) = self.scores
        return self._mean.scored(name, "frames")


class Csim(_Csim):
    """Cosine similarity of face-recognition embeddings.

    Which network matters more to the figure than most changes to a model, and there is no agreed
    one: the result names the file by its SHA-256.

    Args:
        weights: the state dict of an iresnet, as ArcFace's authors publish them, or TorchScript
            from faces (B, 3, 112, 112) in [-1, 1] to (B, D).
        crop: "face" to look for faces; "whole" where frames are aligned crops already.
        device: where to compute.
    """

    scores: ClassVar[Mapping[str, Better]] = {"csim": "higher"}

    def __init__(
        self, weights: str, crop: CropMode = "face", device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(device)
        self._weights = Path(weights)
        self._network = arcface.load(self._weights).to(device)
        # ArcFace's alignment puts the eyes at 0.46 of the height, 0.31 of the width apart. Eyes
        # lie 0.4 of a cascade's box apart.
        self._crop = FaceCrop(arcface.SIZE, side=1.27, below=0.05, mode=crop)

    def protocol(self) -> dict[str, Any]:
        """Backbone, crop and comparison."""
        what = "face recognition at 112"
        return {**published(what, self._weights), **self._crop.protocol(), **super().protocol()}

    def embed(self, frames: Tensor) -> Tensor:
        """Embeddings of the faces found."""
        crops = self._crop(frames)
        rows = [self._network(2 * some - 1).cpu() for some in batches(crops.images, self._device)]
        found = torch.cat(rows) if rows else torch.zeros(0, 1)
        embeddings = torch.full((len(frames), found.shape[1]), torch.nan)
        embeddings[crops.kept] = found
        return embeddings


class CsimLab(_Csim):
    """The same by the small network that ships, on heads framed as Motion Lab does."""

    scores: ClassVar[Mapping[str, Better]] = {"csim[lab]": "higher"}

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self._network = face.load(device)

    def protocol(self) -> dict[str, Any]:
        """Backbone, crop and comparison."""
        return {**lab("face"), "crop": "whole frames at 64", **super().protocol()}

    def embed(self, frames: Tensor) -> Tensor:
        """Unit vectors, of every frame."""
        return self._network.embed(frames).cpu()
