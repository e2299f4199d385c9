"""Fréchet distances between what networks see in generated and in real videos: FID and FVD."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from motion_lab.errors import UsageError
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.lab import features, video
from motion_lab.evaluation.lab.frames import batches
from motion_lab.evaluation.metrics.backbones import lab, published
from motion_lab.evaluation.metrics.metric import Better, Need
from motion_lab.evaluation.published import inception
from motion_lab.foreign_weights import load_script


class Moments:
    """Mean and covariance of rows that come in pieces, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self._rows: list[Tensor] = []
        self._sum: Tensor | float = 0.0
        self._products: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        """Take in rows (N, D)."""
        rows = rows.detach().cpu().double()
        self.count += len(rows)
        self._sum = self._sum + rows.sum(0)
        self._rows.append(rows)
        # More rows than columns say no more than their products, and take more room.
        if sum(map(len, self._rows)) > rows.shape[1]:
            held = torch.cat(self._rows)
            self._rows = []
            self._products = held.T @ held + (0 if self._products is None else self._products)

    def mean(self) -> Tensor:
        """(D,)."""
        return torch.as_tensor(self._sum) / self.count

    def root(self) -> Tensor:
        """(K, D), whose product with itself, rootᵀ root, is the covariance of a sample."""
        mean, scale = self.mean(), (self.count - 1) ** -0.5
        if self._products is None:
            return (torch.cat(self._rows) - mean) * scale
        held = torch.cat([*self._rows, mean.new_zeros(0, len(mean))])
        products = self._products + held.T @ held - self.count * torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(products)
        return scale * values.clamp(min=0).sqrt()[:, None] * vectors.T


def frechet_distance(mean_a: Tensor, root_a: Tensor, mean_b: Tensor, root_b: Tensor) -> float:
    """Squared Fréchet (2-Wasserstein) distance of two Gaussians: |m - n|² + tr(A + B - 2 √(AB)).

    Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982. With
    A = PᵀP and B = QᵀQ, the root's trace is the sum of the singular values of PQᵀ: no complex
    numbers, no failure where A or B has no inverse, and little work where there are few samples.

    Args:
        mean_a, mean_b: (D,) float64.
        root_a, root_b: (K, D) float64, P and Q.
    """
    apart = (mean_a - mean_b).square().sum()
    spread = root_a.square().sum() + root_b.square().sum()
    shared = torch.linalg.svdvals(root_a @ root_b.T).sum()
    return float((apart + spread - 2 * shared).clamp(min=0))


class FrechetMetric(ABC):
    """A Fréchet distance between embeddings of generated and of real clips."""

    scores: ClassVar[Mapping[str, Better]]
    needs: ClassVar[frozenset[Need]] = frozenset({"references"})
    unit: ClassVar[str]  # what an embedding is of, in the plural

    def __init__(self, device: torch.device | str) -> None:
        self._device = device
        self._generated, self._reference = Moments(), Moments()
        self._dropped = 0

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """See :class:`~motion_lab.evaluation.metrics.Metric`."""

    @abstractmethod
    def embed(self, clip: Clip) -> Tensor:
        """Embeddings (N, D) of a clip; none where it cannot be scored."""

    def add(self, generated: Clip | None, reference: Clip | None) -> None:
        """Take in either or both."""
        for clip, moments in ((generated, self._generated), (reference, self._reference)):
            if clip is not None:
                rows = self.embed(clip)
                self._dropped += not len(rows)
                if len(rows):
                    moments.add(rows)

    def compute(self) -> dict[str, float]:
        """The distance, and how many embeddings each side gave."""
        (name,) = self.scores
        a, b = self._generated, self._reference
        if min(a.count, b.count) < 2:
            raise UsageError(
                f"{name} could not be measured: it needs two {self.unit} or more on each side, and "
                f"there are {a.count} generated and {b.count} real ones. Give more or longer "
                "videos."
            )
        distance = frechet_distance(a.mean(), a.root(), b.mean(), b.root())
        return {
            name: distance,
            self.unit: a.count,
            f"reference {self.unit}": b.count,
            "dropped clips": self._dropped,
        }


class Fid(FrechetMetric):
    """Fréchet Inception distance over all frames, as pytorch-fid computes it.

    Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter, "GANs trained by a two time-scale update
    rule converge to a local Nash equilibrium", 2017.

    Args:
        weights: the file ``pt_inception-2015-12-05-6726825d.pth``.
        device: where to compute.
    """

    scores: ClassVar[Mapping[str, Better]] = {"fid": "lower"}
    unit = "frames"

    def __init__(self, weights: str, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self._weights = Path(weights)
        self._network = inception.load(self._weights).to(device)

    def protocol(self) -> dict[str, Any]:
        """Backbone and input."""
        return {
            **published("Inception of FID, 2048 features", self._weights),
            "input": "all frames, whole, bilinear to 299 without antialiasing",
        }

    def embed(self, clip: Clip) -> Tensor:
        """(F, 2048)."""
        return torch.cat([self._network(some) for some in batches(clip.frames, self._device)])


class FidLab(FrechetMetric):
    """FID's formula on the features of the small network that ships."""

    scores: ClassVar[Mapping[str, Better]] = {"fid[lab]": "lower"}
    unit = "frames"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self._network = features.load(device)

    def protocol(self) -> dict[str, Any]:
        """Backbone and input."""
        return {**lab("features"), "input": "all frames, whole, at 96"}

    def embed(self, clip: Clip) -> Tensor:
        """(F, D)."""
        return features.embed(self._network, clip.frames)


class Fvd(FrechetMetric):
    """Fréchet video distance, on the I3D of Kinetics-400.

    Unterthiner et al., "Towards accurate generative models of video", 2018, with the TorchScript
    I3D of StyleGAN-V, which resizes to 224 itself.

    Args:
        weights: the file ``i3d_torchscript.pt``.
        window: frames of a window; clips are cut into windows, a shorter rest is left out.
        device: where to compute.
    """

    scores: ClassVar[Mapping[str, Better]] = {"fvd": "lower"}
    unit = "windows"

    def __init__(self, weights: str, window: int = 16, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        # Four pooling steps over time leave nothing of fewer.
        if window < 10:
            raise UsageError(f"fvd needs windows of 10 frames or more, got {window}.")
        self._weights, self._window = Path(weights), window
        self._network = load_script(self._weights, "the I3D of FVD").to(device)

    def protocol(self) -> dict[str, Any]:
        """Backbone, input and windows."""
        return {
            **published("I3D of Kinetics-400, 400 logits", self._weights),
            "input": "whole frames; the script rescales to [-1, 1] and resizes to 224",
            "window": self._window,
            "stride": self._window,
        }

    def embed(self, clip: Clip) -> Tensor:
        """(F // window, 400)."""
        windows = clip.frames[: len(clip.frames) // self._window * self._window]
        rows = [
            self._network(
                some.to(self._device).float().movedim(0, 1)[None],
                rescale=True,
                resize=True,
                return_features=True,
            )
            for some in windows.split(self._window)
            if len(some)
        ]
        return torch.cat(rows) if rows else torch.zeros(0, 1)


class FvdLab(FrechetMetric):
    """FVD's formula on the small video network that ships."""

    scores: ClassVar[Mapping[str, Better]] = {"fvd[lab]": "lower"}
    unit = "windows"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self._features, self._network = features.load(device), video.load(device)

    def protocol(self) -> dict[str, Any]:
        """Backbones, input and windows."""
        return {
            **lab("video"),
            "features_sha256": lab("features")["sha256"],
            "input": "whole frames at 96",
            "window": video.FRAMES,
            "stride": video.FRAMES // 2,
        }

    def embed(self, clip: Clip) -> Tensor:
        """One row a window; none for a clip that is shorter."""
        if len(clip.frames) < video.FRAMES:
            return torch.zeros(0, self._network.embedding)
        return self._network.embed(clip.frames, self._features, stride=video.FRAMES // 2)
