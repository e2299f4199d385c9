"""Lip sync: LSE-D, LSE-C and the offset, by the protocol of SyncNet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lab.data.audio import SAMPLES_PER_FRAME, SILENCE
from motion_lab.errors import UsageError
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.faces import CropMode, FaceCrop
from motion_lab.evaluation.lab import landmarks
from motion_lab.evaluation.lab import sync as lab_sync
from motion_lab.evaluation.metrics.backbones import lab, published
from motion_lab.evaluation.metrics.mean import Mean
from motion_lab.evaluation.metrics.metric import Better, Need
from motion_lab.evaluation.published import syncnet

REACH = 15
"""Frames by which the sound is shifted, each way."""

_SHORTEST = 2 * REACH + 1  # windows; of fewer, most shifts see no sound at all


class Sync(NamedTuple):
    """How well lips fit a voice."""

    distance: float  # LSE-D
    confidence: float  # LSE-C
    offset: int  # frames by which the sound comes late; 0 in sync


def sync_scores(lips: Tensor, voice: Tensor, beyond: float = 0.0) -> Sync:
    """Compare lips with the voice at every shift of up to 15 frames.

    The mean distance over windows is taken at each shift; LSE-D is the least of them, LSE-C how
    far it lies below their median (Prajwal et al., "A lip sync expert is all you need for speech
    to lip generation in the wild", 2020; Chung and Zisserman, "Out of time", 2016).

    Args:
        lips, voice: (N, D), embeddings of the windows that begin at each frame.
        beyond: what stands for the voice beyond the track. SyncNet's own code compares with zeros
            there; NaN leaves these comparisons out.
    """
    padded = F.pad(voice, (0, 0, REACH, REACH), value=beyond)
    means = torch.stack(
        [
            (lips - padded[shift : shift + len(lips)]).norm(dim=1).nanmean()
            for shift in range(2 * REACH + 1)
        ]
    )
    least, at = means.min(0)
    return Sync(float(least), float(means.median() - least), int(at) - REACH)


class _Lse(ABC):
    """Means over clips; those without speech, or too short, are dropped and counted.

    LSE-D and LSE-C look for the best shift themselves: sound that comes late by a constant leaves
    both as they are, and shows in the offset alone.
    """

    scores: ClassVar[Mapping[str, Better]]
    needs: ClassVar[frozenset[Need]] = frozenset({"audio"})
    beyond: ClassVar[float]

    def __init__(self, device: torch.device | str) -> None:
        self._device = device
        self._means = Mean(), Mean(), Mean()
        self._silent = 0
        self._short = 0

    def protocol(self) -> dict[str, Any]:
        """The comparison; subclasses add backbone and crop."""
        return {
            "window": "5 frames, 0.2 s",
            "offsets": f"-{REACH} to {REACH} frames",
            "lse_d": "minimum over offsets of the mean over windows; mean over clips",
            "lse_c": "median minus minimum; mean over clips",
            "lse_offset": "frames from 0 to the minimum; mean over clips",
            "shortest": f"{_SHORTEST} windows",
        }

    @abstractmethod
    def embed(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """Lips and voice, (N, D) each, of the windows that begin at each frame; N may be 0."""

    def add(self, generated: Clip | None, reference: Clip | None) -> None:
        """Take in a generated clip with its sound; references do not matter."""
        if generated is None:
            return
        assert generated.wave is not None
        if not len(generated.wave) or generated.wave.abs().max() < SILENCE:
            self._silent += 1
            return
        lips, voice = self.embed(generated)
        if len(lips) < _SHORTEST:
            self._short += 1
            return
        found = sync_scores(lips, voice, self.beyond)
        values = found.distance, found.confidence, float(abs(found.offset))
        for mean, value in zip(self._means, values, strict=True):
            mean.add(torch.tensor(value))

    def compute(self) -> dict[str, float]:
        """Means over clips, and how many were scored and dropped."""
        if not self._means[0].count:
            raise UsageError(
                f"{next(iter(self.scores))} could not be measured: of {self._silent + self._short} "
                f"clips {self._silent} are silent, and {self._short} show no face for {_SHORTEST} "
                "windows on end. Give longer videos with speech, or leave it out."
            )
        values = {
            name: mean.value(name) for name, mean in zip(self.scores, self._means, strict=True)
        }
        return {
            **values,
            "clips": self._means[0].count,
            "dropped, silent": self._silent,
            "dropped, too short or without a face": self._short,
        }


class Lse(_Lse):
    """LSE-D and LSE-C by SyncNet v2, as the authors' own code scores a face track.

    Args:
        weights: the file ``syncnet_v2.model``.
        crop: "face" to look for faces; "whole" where frames are face tracks that SyncNet's own
            pipeline has cut out, the protocol of LRS.
        device: where to compute.
    """

    scores: ClassVar[Mapping[str, Better]] = {
        "lse_d": "lower",
        "lse_c": "higher",
        "lse_offset": "lower",
    }
    beyond = 0.0

    def __init__(
        self, weights: str, crop: CropMode = "face", device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(device)
        self._weights = Path(weights)
        self._network = syncnet.load(self._weights).to(device)
        # SyncNet's crop around the box of S3FD: 2.8 half-heights wide, 0.4 of one below its
        # middle. That box is taken to be 1.2 of the cascade's high and to lie 0.2 lower.
        self._crop = FaceCrop(syncnet.SIZE, side=1.68, below=0.44, mode=crop)

    def protocol(self) -> dict[str, Any]:
        """Backbone, crop and comparison."""
        return {
            **published("SyncNet v2", self._weights),
            **self._crop.protocol(),
            "sound": "MFCC of 13, every 10 ms",
            "beyond the track": "zeros",
            **super().protocol(),
        }

    def embed(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """As SyncNet's own code, which leaves out the last window."""
        assert clip.wave is not None
        crops = self._crop(clip.frames)
        first, last = longest_run(crops.kept)
        before = int(crops.kept[:first].sum())
        frames = crops.images[before : before + last - first]
        wave = clip.wave[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME]
        count = min(len(frames), len(wave) // SAMPLES_PER_FRAME) - syncnet.FRAMES
        if count < 1:
            return torch.zeros(0, 1), torch.zeros(0, 1)
        sound = syncnet.mfcc(wave).to(self._device)
        lips, voice = [], []
        for start in range(0, count, 16):
            begins = range(start, min(start + 16, count))
            # The network was trained on OpenCV's order of colours.
            seen = [frames[i : i + syncnet.FRAMES].flip(1).movedim(0, 1).float() for i in begins]
            heard = [sound[None, :, 4 * i : 4 * i + syncnet.STEPS] for i in begins]
            lips.append(self._network.lips(torch.stack(seen).to(self._device)).cpu())
            voice.append(self._network.voice(torch.stack(heard)).cpu())
        return torch.cat(lips), torch.cat(voice)


class LseLab(_Lse):
    """The same comparison by the small network that ships, on heads framed as Motion Lab does."""

    scores: ClassVar[Mapping[str, Better]] = {
        "lse_d[lab]": "lower",
        "lse_c[lab]": "higher",
        "lse_offset[lab]": "lower",
    }
    beyond = float("nan")

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self._network, self._landmarks = lab_sync.load(device), landmarks.load(device)

    def protocol(self) -> dict[str, Any]:
        """Backbones, crop and comparison."""
        return {
            **lab("sync"),
            "landmarks_sha256": lab("landmarks")["sha256"],
            "crop": "mouth, by the lab's landmarks",
            "sound": "log-mel of 40, every 10 ms",
            "beyond the track": "left out",
            **super().protocol(),
        }

    def embed(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """Unit vectors."""
        assert clip.wave is not None
        count = min(len(clip.frames), len(clip.wave) // SAMPLES_PER_FRAME)
        if count < 5:
            return torch.zeros(0, 1), torch.zeros(0, 1)
        lips, voice = self._network.embed(clip.frames[:count], clip.wave, self._landmarks)
        return lips.cpu(), voice.cpu()


def longest_run(kept: Tensor) -> tuple[int, int]:
    """Begin and end of the longest run of True in (F,)."""
    edges = F.pad(kept.int(), (1, 1)).diff()
    begins, ends = (edges == 1).nonzero().flatten(), (edges == -1).nonzero().flatten()
    if not len(begins):
        return 0, 0
    at = (ends - begins).argmax()
    return int(begins[at]), int(ends[at])
