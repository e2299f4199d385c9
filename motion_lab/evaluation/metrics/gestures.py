"""Metrics of motion, seen through points of the face: FGD, DIV and BAS."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from motion_lab.errors import UsageError
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.faces import CropMode
from motion_lab.evaluation.lab import landmarks
from motion_lab.evaluation.metrics import beats
from motion_lab.evaluation.metrics.backbones import published
from motion_lab.evaluation.metrics.frechet import FrechetMetric
from motion_lab.evaluation.metrics.landmarks import FanFinder, Finder, LabFinder
from motion_lab.evaluation.metrics.mean import Mean
from motion_lab.evaluation.metrics.metric import Better, Need
from motion_lab.foreign_weights import load_script

WINDOW = 32
"""Frames of a gesture, 1.28 s; windows begin every 16."""

_STRIDE = WINDOW // 2
_PAIRS = 500
_WAVES = 4  # cosines over a window that the lab's embedding keeps: up to 1.2 Hz


class Embedder(ABC):
    """Frames to poses, and windows of poses to embeddings."""

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """What poses are, and windows."""

    @abstractmethod
    def poses(self, clip: Clip) -> Tensor:
        """(F, P), NaN in frames that show none."""

    @abstractmethod
    def _embed(self, windows: Tensor) -> Tensor:
        """(N, WINDOW, P) → (N, D)."""

    def _windows(self) -> dict[str, Any]:
        return {"window": WINDOW, "stride": _STRIDE}

    def embed(self, poses: Tensor) -> Tensor:
        """Poses of a clip → (N, D), of the windows in which every frame shows one."""
        if len(poses) < WINDOW:
            return torch.zeros(0, 1)
        windows = poses.unfold(0, WINDOW, _STRIDE).mT
        windows = windows[~windows.isnan().any(2).any(1)]
        return self._embed(windows) if len(windows) else torch.zeros(0, 1)


class FaceEmbedder(Embedder):
    """Poses from points of the face."""

    _find: Finder

    def protocol(self) -> dict[str, Any]:
        """Points and windows; subclasses add what they make of them."""
        return {"points": self._find.protocol(), **self._windows()}

    @abstractmethod
    def _pose(self, places: Tensor) -> Tensor:
        """Points of a clip (N, L, 2) → (N, P)."""

    def poses(self, clip: Clip) -> Tensor:
        """(F, P), NaN in frames without a face."""
        places, found = self._find(clip.frames)
        if not found.any():
            return torch.full((len(found), 1), torch.nan)
        values = self._pose(places[found])
        poses = torch.full((len(found), values.shape[1]), torch.nan)
        poses[found] = values
        return poses


class EncoderEmbedder(FaceEmbedder):
    """Any points, and the encoder of a motion autoencoder, both from files that the user names.

    Args:
        landmarks: TorchScript of a face-alignment network; see
            :class:`~motion_lab.evaluation.metrics.landmarks.FanFinder`.
        encoder: TorchScript from windows (N, 32, 2 L) of poses to (N, D). A pose is the points
            less their mean over the clip, in units of their mean spread.
        crop: "face" or "whole", for the points.
        device: where to compute.
    """

    def __init__(
        self, landmarks: str, encoder: str, crop: CropMode, device: torch.device | str
    ) -> None:
        self._find = FanFinder(landmarks, crop, device)
        self._file, self._device = Path(encoder), device
        self._network = load_script(self._file, "a motion encoder").to(device)

    def protocol(self) -> dict[str, Any]:
        """Networks, crop and windows."""
        return {**published("motion encoder", self._file), **super().protocol()}

    def _pose(self, places: Tensor) -> Tensor:
        return normalised(places).flatten(1)

    def _embed(self, windows: Tensor) -> Tensor:
        return self._network(windows.to(self._device)).cpu()


class LabEmbedder(FaceEmbedder):
    """The lab's points, read as eight numbers a frame, in the slowest cosines of a window.

    There is no network after the points: mouth opening and width, both lids' opening, the head's
    place, roll and size, four cosines over 32 frames each.
    """

    def __init__(self, device: torch.device | str) -> None:
        self._find = LabFinder(device)

    def protocol(self) -> dict[str, Any]:
        """Points, numbers and windows."""
        numbers = "mouth opening and width, lids, place, roll and size of the head"
        return {"pose": numbers, "embedding": f"{_WAVES} cosines", **super().protocol()}

    def _pose(self, places: Tensor) -> Tensor:
        scale = landmarks.face_scale(places)
        centre = places.mean(1)
        # The turn that brings the clip's mean points nearest to each frame's (Procrustes).
        upright = places.mean(0) - centre.mean(0)
        now = places - centre[:, None]
        turned = (now[..., 1] * upright[:, 0] - now[..., 0] * upright[:, 1]).sum(1)
        roll = torch.atan2(turned, (now * upright).sum((1, 2)))
        return torch.cat(
            [
                landmarks.mouth_opening(places)[:, None],
                landmarks.mouth_width(places)[:, None],
                landmarks.lid_opening(places),
                (centre - centre.mean(0)) / scale.mean(),
                roll[:, None],
                (scale / scale.mean()).log()[:, None],
            ],
            1,
        )

    def _embed(self, windows: Tensor) -> Tensor:
        return slow_cosines(windows)


def slow_cosines(windows: Tensor) -> Tensor:
    """Windows (N, WINDOW, P) in their four slowest cosines, (N, 4 P)."""
    time = (torch.arange(WINDOW) + 0.5) / WINDOW
    cosines = torch.cos(torch.pi * torch.arange(_WAVES)[:, None] * time) / WINDOW**0.5
    return (cosines @ windows).flatten(1)


def normalised(places: Tensor) -> Tensor:
    """Points of a clip (F, L, 2) less their mean over it, in units of their spread about that of
    their own frame: neither where the face is nor how large the video matters.
    """
    spread = (places - places.mean(1, keepdim=True)).square().sum(-1).mean().sqrt()
    return (places - places.mean((0, 1))) / spread.clamp(min=1e-8)


class Fgd(FrechetMetric):
    """Fréchet gesture distance: between windows of motion, in the space of an autoencoder.

    Yoon et al., "Speech gesture generation from the trimodal context of text, audio, and speaker
    identity", 2020. Figures of different autoencoders do not compare; the result names the files.

    Args:
        landmarks: TorchScript of a face-alignment network.
        encoder: TorchScript of the autoencoder's first half; see :class:`EncoderEmbedder`.
        crop: "face" to look for faces; "whole" where frames are crops already.
        device: where to compute.
    """

    scores: ClassVar[Mapping[str, Better]] = {"fgd": "lower"}
    unit = "windows"

    def __init__(
        self,
        landmarks: str,
        encoder: str,
        crop: CropMode = "face",
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(device)
        self._embedder: Embedder = EncoderEmbedder(landmarks, encoder, crop, device)

    def protocol(self) -> dict[str, Any]:
        """Networks, crop and windows."""
        return self._embedder.protocol()

    def embed(self, clip: Clip) -> Tensor:
        """One row a window."""
        return self._embedder.embed(self._embedder.poses(clip))


class FgdLab(Fgd):
    """The same on the lab's points, without an autoencoder: :class:`LabEmbedder`."""

    scores: ClassVar[Mapping[str, Better]] = {"fgd[lab]": "lower"}

    def __init__(self, device: torch.device | str = "cpu") -> None:
        FrechetMetric.__init__(self, device)
        self._embedder = LabEmbedder(device)


class Div:
    """Diversity of motion: how much windows differ from each other, and poses from their mean.

    Unrelated numbers go by the name of diversity. ``div`` is that of HA2G (Liu et al., "Learning
    hierarchical cross-modal association for co-speech gesture generation", 2022): the mean L1
    distance of up to 500 random pairs of windows, embedded as for FGD. ``l1div`` is that of BEAT
    (Liu et al., 2022): the mean L1 distance of poses from their clip's mean.

    Args:
        landmarks, encoder, crop, device: as for :class:`Fgd`.
    """

    scores: ClassVar[Mapping[str, Better]] = {"div": "higher", "l1div": "higher"}
    needs: ClassVar[frozenset[Need]] = frozenset()

    def __init__(
        self,
        landmarks: str,
        encoder: str,
        crop: CropMode = "face",
        device: torch.device | str = "cpu",
    ) -> None:
        self._begin(EncoderEmbedder(landmarks, encoder, crop, device))

    def _begin(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._rows: list[Tensor] = []
        self._spread = Mean()

    def protocol(self) -> dict[str, Any]:
        """Networks, crop, windows and pairs."""
        return {
            **self._embedder.protocol(),
            "div": f"mean L1 over at most {_PAIRS} pairs of windows, seed 0",
            "l1div": "mean over frames of the L1 distance to the clip's mean pose",
        }

    def add(self, generated: Clip | None, reference: Clip | None) -> None:
        """Take in a generated clip; references do not matter."""
        if generated is None:
            return
        poses = self._embedder.poses(generated)
        self._spread.add(l1_diversity(poses))
        rows = self._embedder.embed(poses)
        if len(rows):
            self._rows.append(rows)

    def compute(self) -> dict[str, float]:
        """Both, over how many windows and frames, and how many frames had no face."""
        pairs, within = self.scores
        rows = torch.cat(self._rows) if self._rows else torch.zeros(0, 1)
        if len(rows) < 2:
            raise UsageError(
                f"{pairs} could not be measured: it needs two windows of {WINDOW} frames with a "
                f"face, and there are {len(rows)}. Give more or longer videos."
            )
        return {
            pairs: diversity(rows),
            within: self._spread.value(within),
            "windows": len(rows),
            "frames": self._spread.count,
            "dropped frames": self._spread.dropped,
        }


class DivLab(Div):
    """The same on the lab's points: :class:`LabEmbedder`."""

    scores: ClassVar[Mapping[str, Better]] = {"div[lab]": "higher", "l1div[lab]": "higher"}

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._begin(LabEmbedder(device))


def diversity(rows: Tensor, seed: int = 0) -> float:
    """Mean L1 distance of pairs of rows (N, D): all of them, or 500 drawn where there are more."""
    first, second = torch.triu_indices(len(rows), len(rows), 1)
    if len(first) > _PAIRS:
        drawn = torch.randperm(len(first), generator=torch.Generator().manual_seed(seed))[:_PAIRS]
        first, second = first[drawn], second[drawn]
    return float((rows[first] - rows[second]).abs().sum(1).mean())


def l1_diversity(poses: Tensor) -> Tensor:
    """L1 distance of each pose (F, P) from their mean: (F,), NaN for poses that hold NaN."""
    return (poses - poses.nanmean(0)).abs().sum(1)


class Bas:
    """Beat alignment score: whether motion pauses where sounds begin.

    Siyao et al., "Bailando: 3D dance generation by actor-critic GPT with choreographic memory",
    2022, with onsets of speech in place of a song's beats.

    Args:
        weights: TorchScript of a face-alignment network.
        crop: "face" to look for faces; "whole" where frames are crops already.
        device: where to compute.
    """

    scores: ClassVar[Mapping[str, Better]] = {"bas": "higher"}
    needs: ClassVar[frozenset[Need]] = frozenset({"audio"})

    def __init__(
        self, weights: str, crop: CropMode = "face", device: torch.device | str = "cpu"
    ) -> None:
        self._begin(FanFinder(weights, crop, device))

    def _begin(self, find: Finder) -> None:
        self._find = find
        self._mean = Mean()

    def protocol(self) -> dict[str, Any]:
        """Points, both kinds of beat, and how they are compared."""
        return {
            "points": self._find.protocol(),
            **self._beats(beats.SMOOTHING),
        }

    def _beats(self, smoothing: float) -> dict[str, Any]:
        return {
            "motion beats": f"minima of mean speed, Gaussian of {smoothing} frames",
            "sound beats": "onsets by spectral flux, at least 0.1 s apart",
            "alignment": f"from each sound beat to the nearest motion beat, sigma {beats.SIGMA}",
            "mean": "over clips",
        }

    def add(self, generated: Clip | None, reference: Clip | None) -> None:
        """Take in a generated clip with its sound; references do not matter."""
        if generated is not None:
            self._mean.add(torch.tensor(self._align(generated)))

    def _align(self, clip: Clip) -> float:
        """The score of one clip, NaN where it has none."""
        assert clip.wave is not None
        places, found = self._find(clip.frames)
        if not found.all() or len(places) <= 2:
            return float("nan")
        speed = places.diff(dim=0).norm(dim=-1).mean(1).numpy()
        sound = beats.sound_beats(clip.wave.numpy())
        return beats.beat_alignment(sound[sound < len(places)], beats.motion_beats(speed))

    def compute(self) -> dict[str, float]:
        """The mean, over how many clips, and how many had no onsets or frames without a face."""
        (name,) = self.scores
        return self._mean.scored(name, "clips")


class BasLab(Bas):
    """The same on the lab's points."""

    scores: ClassVar[Mapping[str, Better]] = {"bas[lab]": "higher"}

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._begin(LabFinder(device))
