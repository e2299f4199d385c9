"""LPIPS: how far frames are from their targets in the features of a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from motion_lab.evaluation.lab import features
from motion_lab.evaluation.metrics.backbones import lab, published
from motion_lab.evaluation.metrics.metric import Better
from motion_lab.evaluation.metrics.pixels import Framewise
from motion_lab.evaluation.published import lpips
from motion_lab.models.weights import fingerprint


class Lpips(Framewise):
    """Learned perceptual image patch similarity, version 0.1 (Zhang et al., 2018).

    Args:
        weights: torchvision's weights of the network, ``alexnet-owt-7be5be79.pth`` or
            ``vgg16-397923af.pth``.
        net: "alex" or "vgg".
        heads: the published weightings of its channels; those in torchmetrics if left out.
        device: where to compute.
    """

    scores: ClassVar[Mapping[str, Better]] = {"lpips": "lower"}

    def __init__(
        self,
        weights: str,
        net: Literal["alex", "vgg"] = "alex",
        heads: str | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(device)
        self._weights, self._net = Path(weights), net
        self._heads = Path(heads) if heads else lpips.bundled_heads(net)
        self._network = lpips.load(self._weights, net, self._heads).to(device)

    def protocol(self) -> dict[str, Any]:
        """Backbone and its heads."""
        return {
            **published(f"LPIPS 0.1, {self._net}", self._weights),
            "heads_sha256": fingerprint(self._heads),
            **super().protocol(),
        }

    def score(self, image: Tensor, target: Tensor) -> Tensor:
        """Distances (B,)."""
        return self._network(image, target)


class LpipsLab(Framewise):
    """Mean absolute differences of the maps of the small network that ships.

    Its maps are batch-normalised: all channels, and all scales, weigh alike.
    """

    scores: ClassVar[Mapping[str, Better]] = {"lpips[lab]": "lower"}

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self._network = features.load(device)

    def protocol(self) -> dict[str, Any]:
        """Backbone and input."""
        return {**lab("features"), **super().protocol()}

    def score(self, image: Tensor, target: Tensor) -> Tensor:
        """Distances (B,): the mean over scales of the mean over each map."""
        maps = zip(self._network(image), self._network(target), strict=True)
        return torch.stack([(a - b).abs().mean((1, 2, 3)) for a, b in maps]).mean(0)
