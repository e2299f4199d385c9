"""The metrics that compare pixels with those of the reference: PSNR, SSIM, L1 and TGD."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.lab.frames import batches
from motion_lab.evaluation.metrics.images import psnr, ssim
from motion_lab.evaluation.metrics.mean import Mean
from motion_lab.evaluation.metrics.metric import Better, Need, both

_PAIRS = 32  # of frames, at once


class Framewise(ABC):
    """A mean over all frames of all pairs."""

    scores: ClassVar[Mapping[str, Better]]
    needs: ClassVar[frozenset[Need]] = frozenset({"pair"})

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = device
        self._mean = Mean()

    @abstractmethod
    def score(self, image: Tensor, target: Tensor) -> Tensor:
        """(B, 3, S, S) twice, in [0, 1] → (B,)."""

    def protocol(self) -> dict[str, Any]:
        """Whole frames of 8 bits, as numbers in [0, 1]; a mean over frames."""
        return {"input": "RGB in [0, 1], whole frames", "mean": "over frames"}

    def add(self, generated: Clip | None, reference: Clip | None) -> None:
        """Take in a pair."""
        generated, reference = both(generated, reference)
        pairs = (batches(clip.frames, self._device) for clip in (generated, reference))
        for image, target in zip(*pairs, strict=True):
            self._mean.add(self.score(image, target))

    def compute(self) -> dict[str, float]:
        """The mean, and over how many frames."""
        (name,) = self.scores
        return {name: self._mean.value(name), "frames": self._mean.count}


class Psnr(Framewise):
    """Peak signal-to-noise ratio in dB, at most 60 a frame: :func:`~.images.psnr`."""

    scores: ClassVar[Mapping[str, Better]] = {"psnr": "higher"}

    def score(self, image: Tensor, target: Tensor) -> Tensor:
        """In dB."""
        return psnr(image, target)

    def protocol(self) -> dict[str, Any]:
        """As the others, with the limit that a frame without error takes."""
        return {**super().protocol(), "at most": 60.0}


class Ssim(Framewise):
    """Structural similarity with Gaussian windows of 11 pixels: :func:`~.images.ssim`."""

    scores: ClassVar[Mapping[str, Better]] = {"ssim": "higher"}

    def score(self, image: Tensor, target: Tensor) -> Tensor:
        """At most 1."""
        return ssim(image, target)

    def protocol(self) -> dict[str, Any]:
        """As the others, with the window."""
        return {**super().protocol(), "window": "Gaussian, 11 pixels, sigma 1.5, inside the frame"}


class L1(Framewise):
    """Mean absolute error of the pixels."""

    scores: ClassVar[Mapping[str, Better]] = {"l1": "lower"}

    def score(self, image: Tensor, target: Tensor) -> Tensor:
        """In [0, 1]."""
        return (image - target).abs().mean((1, 2, 3))


class Tgd:
    """Temporal gradient difference: whether things move where, when and as much as they should.

    The mean over pixels, colours and frames of ||g(t+1) - g(t)| - |r(t+1) - r(t)||, for generated
    g and reference r. The paper (arXiv 2606.03402) reports a "TGD" whose definition is not public:
    this one is ours, and figures are not comparable with the paper's.
    """

    scores: ClassVar[Mapping[str, Better]] = {"tgd": "lower"}
    needs: ClassVar[frozenset[Need]] = frozenset({"pair"})

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = device
        self._mean = Mean()

    def protocol(self) -> dict[str, Any]:
        """What is compared."""
        return {
            "input": "RGB in [0, 1], whole frames",
            "gradient": "absolute difference of consecutive frames",
            "mean": "over pairs of frames",
        }

    def add(self, generated: Clip | None, reference: Clip | None) -> None:
        """Take in a pair; of a single frame there is nothing to see."""
        generated, reference = both(generated, reference)
        a, b = generated.frames, reference.frames
        for start in range(0, len(a) - 1, _PAIRS):
            some = slice(start, start + _PAIRS + 1)
            change = [x[some].to(self._device).float().div(255).diff(dim=0).abs() for x in (a, b)]
            self._mean.add((change[0] - change[1]).abs().mean((1, 2, 3)))

    def compute(self) -> dict[str, float]:
        """The mean, and over how many pairs of frames."""
        return {"tgd": self._mean.value("tgd"), "pairs of frames": self._mean.count}
