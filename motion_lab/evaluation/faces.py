"""Where the face is in a clip: the crops that published networks expect."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from torch import Tensor

from motion_lab.data.portrait import Framing, crop_portrait, find_face
from motion_lab.errors import UsageError

CropMode = Literal["face", "whole"]

_EVERY = 5  # frames between detections
_GAP = 25  # frames over which a lost face is interpolated, as SyncNet's pipeline does
_MEDIAN = 13  # frames of the median that steadies boxes, as there


class Track(NamedTuple):
    """A face through F frames, in pixels."""

    eyes: NDArray[np.float64]  # (F, 2), the point between them; x, y
    width: NDArray[np.float64]  # (F,), of the cascade's box
    found: NDArray[np.bool_]  # (F,)


# One pair of clips is looked at by several metrics in turn.
@functools.lru_cache(maxsize=4)
def track_face(frames: Tensor) -> Track:
    """The largest face of every fifth frame of a clip (F, 3, S, S) uint8, and between them.

    A face that is lost for a second at most is interpolated; positions are medians of 13 frames.
    """
    count = len(frames)
    looked = sorted({*range(0, count, _EVERY), count - 1})
    seen, rows = [], []
    for index in looked:
        try:
            face = find_face(np.ascontiguousarray(frames[index].permute(1, 2, 0).numpy()))
        except UsageError:
            continue
        seen.append(index)
        rows.append([*face.eyes, face.width])
    found = np.zeros(count, bool)
    if not seen:
        return Track(np.zeros((count, 2)), np.ones(count), found)
    for before, after in zip([seen[0], *seen], [*seen, seen[-1]], strict=True):
        if after - before <= _GAP:
            found[before : after + 1] = True
    values = np.stack([np.interp(range(count), seen, column) for column in np.transpose(rows)], 1)
    values = median_filter(values, (_MEDIAN, 1), mode="nearest")
    return Track(values[:, :2], values[:, 2], found)


class Crops(NamedTuple):
    """Squares cut out of the frames of a clip in which there is a face."""

    images: Tensor  # (N, 3, size, size) uint8
    kept: Tensor  # (F,) bool, N of them: which frames they are
    corner: Tensor  # (N, 2), x and y of their upper left corner, in fractions of the frame
    side: Tensor  # (N,), in fractions of the frame


@dataclass(frozen=True)
class FaceCrop:
    """How a network wants its faces cut out.

    Attributes:
        size: pixels along a side.
        side: along a side, in widths of the cascade's box.
        below: how far below the eyes the centre lies, in the same unit.
        mode: "face" to look for it; "whole" where frames are such crops already.
    """

    size: int
    side: float
    below: float
    mode: CropMode = "face"

    def __post_init__(self) -> None:
        if self.mode not in ("face", "whole"):
            raise UsageError(f"crop must be 'face' or 'whole', got {self.mode!r}.")

    def protocol(self) -> dict[str, Any]:
        """What depends on it, as JSON."""
        if self.mode == "whole":
            return {"crop": f"whole frames at {self.size}"}
        return {
            "crop": f"face at {self.size}, {self.side} boxes wide, {self.below} below the eyes",
            "detector": f"OpenCV Haar cascades, every {_EVERY}th frame, median of {_MEDIAN}",
        }

    def __call__(self, frames: Tensor) -> Crops:
        """Cut faces out of a clip (F, 3, S, S) uint8."""
        count, side = len(frames), frames.shape[-1]
        if self.mode == "whole":
            centre = np.full((count, 2), side / 2)
            sides, kept = np.full(count, float(side)), np.ones(count, bool)
        else:
            track = track_face(frames)
            centre = track.eyes + [0.0, self.below] * track.width[:, None]
            sides, kept = self.side * track.width, track.found
        images = [
            crop_portrait(
                np.ascontiguousarray(frames[i].permute(1, 2, 0).numpy()),
                self.size,
                Framing((float(centre[i, 0]), float(centre[i, 1])), float(sides[i])),
            )[0]
            for i in np.flatnonzero(kept)
        ]
        stacked = np.stack(images) if images else np.zeros((0, self.size, self.size, 3), np.uint8)
        corner = (centre - sides[:, None] / 2)[kept] / side
        return Crops(
            torch.from_numpy(stacked).movedim(-1, 1),
            torch.from_numpy(kept.copy()),
            torch.from_numpy(corner).float(),
            torch.from_numpy(sides[kept] / side).float(),
        )
