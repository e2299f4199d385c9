"""FGD, DIV and BAS of upper bodies, seen through optical flow instead of points of a face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motion_lab.data.video import FPS
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.flow import FASTEST, SIZE, cells, hand_speed, optical_flow
from motion_lab.evaluation.metrics import beats
from motion_lab.evaluation.metrics.frechet import FrechetMetric
from motion_lab.evaluation.metrics.gestures import Bas, Div, Embedder, Fgd, slow_cosines
from motion_lab.evaluation.metrics.mean import Mean
from motion_lab.evaluation.metrics.metric import Better

_ACROSS = 4

SMOOTHING = 1.5
"""Frames, of the bell over the speed of hands: a stroke lasts four to seven, and the five frames
that are used for dance would wash it out."""

_FLOW = {"flow": "dense inverse search (OpenCV, medium)", "at": SIZE}


class FlowEmbedder(Embedder):
    """Mean flow in 4 × 4 cells of the frame, in the slowest cosines of a window."""

    def protocol(self) -> dict[str, Any]:
        """Flow, cells and windows."""
        pose = f"mean flow in {_ACROSS} x {_ACROSS} cells, percent of the frame a second"
        return {**_FLOW, "pose": pose, **self._windows()}

    def poses(self, clip: Clip) -> Tensor:
        """(F - 1, 32), in percent of the frame a second."""
        return 100 * FPS * cells(optical_flow(clip.frames), _ACROSS)

    def _embed(self, windows: Tensor) -> Tensor:
        return slow_cosines(windows)


class FgdFlow(Fgd):
    """Fréchet gesture distance of the frame's motion: :class:`FlowEmbedder`."""

    scores: ClassVar[Mapping[str, Better]] = {"fgd[flow]": "lower"}

    def __init__(self, device: torch.device | str = "cpu") -> None:
        FrechetMetric.__init__(self, device)
        self._embedder = FlowEmbedder()


class DivFlow(Div):
    """Diversity of the frame's motion: :class:`FlowEmbedder`."""

    scores: ClassVar[Mapping[str, Better]] = {"div[flow]": "higher", "l1div[flow]": "higher"}

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._begin(FlowEmbedder())


class BasFlow(Bas):
    """Beat alignment of what moves fastest in the frame: of a speaking upper body, the hands."""

    scores: ClassVar[Mapping[str, Better]] = {"bas[flow]": "higher"}

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._mean = Mean()

    def protocol(self) -> dict[str, Any]:
        """Flow, both kinds of beat, and how they are compared."""
        return {**_FLOW, "speed": f"mean of the fastest {FASTEST:.0%}", **self._beats(SMOOTHING)}

    def _align(self, clip: Clip) -> float:
        assert clip.wave is not None
        return hand_alignment(hand_speed(optical_flow(clip.frames)), clip.wave.numpy())


def hand_alignment(speed: NDArray[np.floating], wave: NDArray[np.floating]) -> float:
    """Beat alignment of hands of this speed (F - 1,) with a wave (T,) at 16 kHz."""
    sound = beats.sound_beats(wave)
    return beats.beat_alignment(
        sound[sound <= len(speed)], beats.motion_beats(speed, smoothing=SMOOTHING)
    )
