"""The metrics that compare pixels, frame by frame: PSNR, SSIM and L1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.metrics.images import psnr, ssim
from motion_lab.evaluation.metrics.mean import Mean
from motion_lab.evaluation.metrics.metric import Better, Need

_CHUNK = 32  # frames at once: 512-pixel frames in float32 stay below 1 GB


class _Framewise(ABC):
    """A mean over all frames of all pairs."""

    scores: ClassVar[Mapping[str, Better]]
    needs: ClassVar[frozenset[Need]] = frozenset({"pair"})

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = device
        self._mean = Mean()

    @abstractmethod
    def _score(self, image: Tensor, target: Tensor) -> Tensor:
        """(B, 3, S, S) twice, in [0, 1] → (B,)."""

    def protocol(self) -> dict[str, Any]:
        """Whole frames of 8 bits, as numbers in [0, 1]; a mean over frames."""
        return {"input": "RGB in [0, 1], whole frames", "mean": "over frames"}

    def add(self, generated: Clip | None, reference: Clip | None) -> None:
        """Take in a pair."""
        assert generated is not None
        assert reference is not None
        pairs = (x.to(self._device).split(_CHUNK) for x in (generated.frames, reference.frames))
        for image, target in zip(*pairs, strict=True):
            self._mean.add(self._score(image.float() / 255, target.float() / 255))

    def compute(self) -> dict[str, float]:
        """The mean, and over how many frames."""
        (name,) = self.scores
        return {name: self._mean.value(name), "frames": self._mean.count}


class Psnr(_Framewise):
    """Peak signal-to-noise ratio in dB, at most 60 a frame: :func:`~.images.psnr`."""

    scores: ClassVar[Mapping[str, Better]] = {"psnr": "higher"}

    def _score(self, image: Tensor, target: Tensor) -> Tensor:
        return psnr(image, target)

    def protocol(self) -> dict[str, Any]:
        """As the others, with the limit that a frame without error takes."""
        return {**super().protocol(), "at most": 60.0}


class Ssim(_Framewise):
    """Structural similarity with Gaussian windows of 11 pixels: :func:`~.images.ssim`."""

    scores: ClassVar[Mapping[str, Better]] = {"ssim": "higher"}

    def _score(self, image: Tensor, target: Tensor) -> Tensor:
        return ssim(image, target)

    def protocol(self) -> dict[str, Any]:
        """As the others, with the window."""
        return {**super().protocol(), "window": "Gaussian, 11 pixels, sigma 1.5, inside the frame"}


class L1(_Framewise):
    """Mean absolute error of the pixels."""

    scores: ClassVar[Mapping[str, Better]] = {"l1": "lower"}

    def _score(self, image: Tensor, target: Tensor) -> Tensor:
        return (image - target).abs().mean((1, 2, 3))
