"""Pictures, depth, labels, landmarks and exact flow of synthetic heads and upper bodies, by the
native ray-caster.

Framing is that of the portrait crop: at neutral the point between the eyes lies at (0.5, 0.42) of
the frame, the eyes 0.19 of the width apart, the chin near y = 0.77. A body's frame spans BODY_VIEW
times as much, from as much farther away, with the eyes at BODY_EYES.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from motion_lab.data.synthetic.identity import Identity
from motion_lab.data.synthetic.parameters import (
    ARM_LIMITS,
    BODY_MOTION,
    CHANNELS,
    LIMITS,
    MOTION,
    REGIONS,
)
from motion_lab.ops import _native

_FACE, _IRIS, _LID_UP, _LID_LOW, _LIP_UP, _LIP_LOW, _BONE = range(7)
__all__ = ["BODY_LANDMARK_NAMES", "LANDMARK_NAMES", "REGIONS", "Frames", "flow", "render"]


class Frames(NamedTuple):
    """What :func:`render` gives; a channel that was not asked for is empty, of shape (0,)."""

    image: np.ndarray  # (F, S, S, 3) uint8
    depth: np.ndarray  # (F, S, S) float32, 100 mm from the camera's plane; 0 = background
    regions: np.ndarray  # (F, S, S) uint8, indices of REGIONS, a body's of BODY_REGIONS
    # (F, L, 2) float32, x then y, fractions of the frame; LANDMARK_NAMES or BODY_LANDMARK_NAMES
    landmarks: np.ndarray


def render(
    identity: Identity,
    motion: np.ndarray,
    size: int = 128,
    *,
    samples: int = 1,
    threads: int = 1,
    channels: tuple[str, ...] = CHANNELS,
) -> Frames:
    """Render frames of one head, or of one upper body where the identity has a body.

    Args:
        motion: (F, 16), the parameters of :data:`parameters.MOTION`; of a body (F, 26), those of
            :data:`parameters.BODY_MOTION`.
        size: width and height in pixels.
        samples: rays a pixel along each axis; 2 takes four times as long as 1. Depth and labels
            are those of the ray next to the pixel's centre.
        threads: CPU threads; the result does not depend on it.
        channels: which of :data:`parameters.CHANNELS` to compute.

    Raises:
        ValueError: for a size, motion or channel that makes no sense.
    """
    motion, arms = _checked(identity, motion, "motion")
    body = None if identity.body is None else identity.body.packed
    _check_counts(size=size, samples=samples, threads=threads)
    unknown = set(channels) - set(CHANNELS)
    if unknown:
        raise ValueError(f"channels: unknown {sorted(unknown)}, known are {CHANNELS}")
    frames, marks = len(motion), _marks(identity)

    def room(name: str, dtype: type, *last: int) -> np.ndarray:
        return np.empty((frames, *last) if name in channels else 0, dtype)

    result = Frames(
        room("image", np.uint8, size, size, 3),
        room("depth", np.float32, size, size),
        room("regions", np.uint8, size, size),
        room("landmarks", np.float32, len(marks), 2),
    )
    native = _native.cpu()
    traced = [getattr(result, name) if name in channels else None for name in CHANNELS[:3]]
    if frames and any(array is not None for array in traced):
        native.head_render(identity.packed, motion, body, arms, size, samples, threads, *traced)
    if "landmarks" in channels:
        native.head_landmarks(identity.packed, motion, body, arms, marks, result.landmarks)
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
        driving_motion, source_motion: as for :func:`render`, (16,), or (F, 16) for F pairs at once;
            of a body 26 numbers instead of 16.

    Returns:
        displacement ([F,] S, S, 2) float32 and visible ([F,] S, S) float32 of 0 and 1. In the
        convention of ``motion_lab.ops.warp(source, displacement, align_corners=False)``: normalised
        coordinates, x then y, added to the identity grid. Exact at pixel centres: the surface
        point seen there is carried to the source's pose and projected. It is visible if a ray
        through that place in the source frame meets the same part at the same distance.
    """
    single = np.ndim(driving_motion) == 1
    driving, driving_arms = _checked(identity, np.atleast_2d(driving_motion), "driving_motion")
    source, source_arms = _checked(identity, np.atleast_2d(source_motion), "source_motion")
    if driving.shape != source.shape:
        raise ValueError(f"driving has {len(driving)} frames, source {len(source)}")
    _check_counts(size=size, threads=threads)
    displacement = np.empty((len(driving), size, size, 2), np.float32)
    visible = np.empty((len(driving), size, size), np.float32)
    body = None if identity.body is None else identity.body.packed
    arms = body, driving_arms, source_arms
    _native.cpu().head_flow(
        identity.packed, driving, source, *arms, size, threads, displacement, visible
    )
    return (displacement[0], visible[0]) if single else (displacement, visible)


def _checked(
    identity: Identity, motion: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """The motion of the head (F, 16), and of the arms (F, 10) where there is a body."""
    array = np.asarray(motion, dtype=np.float32)
    numbers = len(MOTION if identity.body is None else BODY_MOTION)
    if array.ndim != 2 or array.shape[-1] != numbers:
        what = "head" if identity.body is None else "body"
        raise ValueError(f"{name} must be (frames, {numbers}) for a {what}, not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    head, arms = np.split(array, [len(MOTION)], axis=1)
    head = np.ascontiguousarray(np.clip(head, LIMITS[:, 0], LIMITS[:, 1]))
    if identity.body is None:
        return head, None
    return head, np.ascontiguousarray(np.clip(arms, ARM_LIMITS[:, 0], ARM_LIMITS[:, 1]))


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


def _joints(v: dict[str, float]) -> dict[str, tuple[float, float, int]]:
    """Joints of a body's arms, and the middle of each hand."""
    places = (
        ("shoulder", 0, 0.0),
        ("elbow", 1, 0.0),
        ("wrist", 2, 0.0),
        ("hand", 2, 0.75 * v["hand"]),
    )
    return {
        f"{name}_{side}": (float(first + bone), along, _BONE)
        for first, side in ((0, "left"), (3, "right"))
        for name, bone, along in places
    }


def _marks(identity: Identity) -> list[tuple[float, float, int]]:
    marks = list(_landmarks(dict(identity.values)).values())
    if identity.body is not None:
        marks += _joints(dict(identity.body.values)).values()
    return marks


class _Zeros(dict[str, float]):
    def __missing__(self, key: str) -> float:
        return 0.0


LANDMARK_NAMES = tuple(_landmarks(_Zeros()))
"""Names of the landmarks, in order; "left" and "right" are the viewer's."""

BODY_LANDMARK_NAMES = (*LANDMARK_NAMES, *_joints(_Zeros()))
"""The same of a body: the head's, then the arms'."""
