"""Pictures, depth, labels, landmarks and exact flow of synthetic heads, by the native ray-caster.

Framing is that of the portrait crop: at neutral the point between the eyes lies at (0.5, 0.42) of
the frame, the eyes 0.19 of the width apart, the chin near y = 0.77.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from motion_lab.data.synthetic.identity import Identity
from motion_lab.data.synthetic.parameters import CHANNELS, LIMITS, MOTION, REGIONS
from motion_lab.ops import _native

_FACE, _IRIS, _LID_UP, _LID_LOW, _LIP_UP, _LIP_LOW = range(6)
__all__ = ["LANDMARK_NAMES", "REGIONS", "Frames", "flow", "render"]


class Frames(NamedTuple):
    """What :func:`render` gives; a channel that was not asked for is empty, of shape (0,)."""

    image: np.ndarray  # (F, S, S, 3) uint8
    depth: np.ndarray  # (F, S, S) float32, 100 mm from the camera's plane; 0 = background
    regions: np.ndarray  # (F, S, S) uint8, indices of REGIONS
    landmarks: np.ndarray  # (F, L, 2) float32, x then y, fractions of the frame


def render(
    identity: Identity,
    motion: np.ndarray,
    size: int = 128,
    *,
    samples: int = 1,
    threads: int = 1,
    channels: tuple[str, ...] = CHANNELS,
) -> Frames:
    """Render frames of one head.

    Args:
        motion: (F, 16), the parameters of :data:`parameters.MOTION`.
        size: width and height in pixels.
        samples: rays a pixel along each axis; 2 takes four times as long as 1. Depth and labels
            are those of the ray next to the pixel's centre.
        threads: CPU threads; the result does not depend on it.
        channels: which of :data:`parameters.CHANNELS` to compute.

    Raises:
        ValueError: for a size, motion or channel that makes no sense.
    """
    motion = _checked(motion, "motion", 2)
    _check_counts(size=size, samples=samples, threads=threads)
    unknown = set(channels) - set(CHANNELS)
    if unknown:
        raise ValueError(f"channels: unknown {sorted(unknown)}, known are {CHANNELS}")
    frames = len(motion)

    def room(name: str, dtype: type, *last: int) -> np.ndarray:
        return np.empty((frames, *last) if name in channels else 0, dtype)

    result = Frames(
        room("image", np.uint8, size, size, 3),
        room("depth", np.float32, size, size),
        room("regions", np.uint8, size, size),
        room("landmarks", np.float32, len(LANDMARK_NAMES), 2),
    )
    native = _native.cpu()
    traced = [getattr(result, name) if name in channels else None for name in CHANNELS[:3]]
    if frames and any(array is not None for array in traced):
        native.head_render(identity.packed, motion, size, samples, threads, *traced)
    if "landmarks" in channels:
        native.head_landmarks(identity.packed, motion, _marks(identity), result.landmarks)
    return result


def flow(
    identity: Identity,
    driving_motion: np.ndarray,
    source_motion: np.ndarray,
    size: int = 64,
    *,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Where the source frame shows what each pixel of the driving frame shows.

    Args:
        driving_motion, source_motion: (16,), or (F, 16) for F pairs at once.

    Returns:
        displacement ([F,] S, S, 2) float32 and visible ([F,] S, S) float32 of 0 and 1. In the
        convention of ``motion_lab.ops.warp(source, displacement, align_corners=False)``: normalised
        coordinates, x then y, added to the identity grid. Exact at pixel centres: the surface
        point seen there is carried to the source's pose and projected. It is visible if a ray
        through that place in the source frame meets the same part at the same distance.
    """
    single = np.ndim(driving_motion) == 1
    driving = _checked(np.atleast_2d(driving_motion), "driving_motion", 2)
    source = _checked(np.atleast_2d(source_motion), "source_motion", 2)
    if driving.shape != source.shape:
        raise ValueError(f"driving has {len(driving)} frames, source {len(source)}")
    _check_counts(size=size, threads=threads)
    displacement = np.empty((len(driving), size, size, 2), np.float32)
    visible = np.empty((len(driving), size, size), np.float32)
    _native.cpu().head_flow(identity.packed, driving, source, size, threads, displacement, visible)
    return (displacement[0], visible[0]) if single else (displacement, visible)


def _checked(motion: np.ndarray, name: str, dims: int) -> np.ndarray:
    array = np.ascontiguousarray(motion, dtype=np.float32)
    if array.ndim != dims or array.shape[-1] != len(MOTION):
        raise ValueError(f"{name} must be (frames, {len(MOTION)}), not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return np.clip(array, LIMITS[:, 0], LIMITS[:, 1])


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if int(value) != value or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")


def _both(name: str, x: float, y: float, kind: int = _FACE) -> dict[str, tuple[float, float, int]]:
    return {f"{name}_left": (-x, y, kind), f"{name}_right": (x, y, kind)}


def _landmarks(v: dict[str, float]) -> dict[str, tuple[float, float, int]]:
    """Places on the neutral face; (x, y, kind) as csrc/head_renderer/contract.h has them."""
    brow = v["brow_y"] + v["brow_arch"]
    middle = 0.5 * (v["brow_in"] + v["brow_out"])
    return {
        **_both("iris", 1.0, 0.0, _IRIS),
        **_both("eye_outer", 1.97, 0.0, _LID_UP),
        **_both("eye_inner", 0.03, 0.0, _LID_UP),
        **_both("lid_upper", 1.0, 0.0, _LID_UP),
        **_both("lid_lower", 1.0, 0.0, _LID_LOW),
        **_both("brow_inner", v["brow_in"] + 0.02, v["brow_y"]),
        **_both("brow_middle", middle, brow),
        **_both("brow_outer", v["brow_out"] - 0.02, v["brow_y"]),
        "nose_bridge": (0.0, 0.02, _FACE),
        "nose_tip": (0.0, v["nose_y"], _FACE),
        **_both("nose_wing", v["wing_x"] + 0.4 * v["wing_r"], v["nose_y"] - 0.02),
        **_both("mouth_corner", 0.93, 0.0, _LIP_UP),
        "lip_upper_outer": (0.0, v["mouth_y"] + 0.75 * v["lip_up"], _FACE),
        "lip_upper_inner": (0.0, 0.0, _LIP_UP),
        "lip_lower_inner": (0.0, 0.0, _LIP_LOW),
        "lip_lower_outer": (0.0, v["mouth_y"] - v["lip_lo"], _FACE),
        "chin": (0.0, v["chin_y"] + 0.09, _FACE),
        **_both("cheek", v["cheek_x"], v["cheek_y"]),
        **_both("jaw", v["jaw_w"], v["jaw_y"]),
        "forehead": (0.0, 0.45, _FACE),
    }


def _marks(identity: Identity) -> list[tuple[float, float, int]]:
    return list(_landmarks(dict(identity.values)).values())


class _Zeros(dict[str, float]):
    def __missing__(self, key: str) -> float:
        return 0.0


LANDMARK_NAMES = tuple(_landmarks(_Zeros()))
"""Names of the landmarks, in order; "left" and "right" are the viewer's."""
