"""How fast hands move, seen without any network: by optical flow.

Nothing here was trained, so nothing prefers the frames of one model or of one kind of body.
"""

from __future__ import annotations

import functools
import itertools

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIZE = 128
"""Pixels of the square at which flow is computed."""

FASTEST = 0.05
"""Share of the pixels, the fastest, whose mean speed counts as that of the hands."""


# One clip is looked at by several metrics in turn.
@functools.lru_cache(maxsize=4)
def optical_flow(frames: Tensor) -> NDArray[np.float32]:
    """Displacement from each frame to the next, by dense inverse search.

    Kroeger, Timofte, Dai and Van Gool, "Fast optical flow using dense inverse search", 2016, as
    OpenCV has it, with its preset "medium".

    Args:
        frames: (F, 3, S, S) uint8.

    Returns:
        (F - 1, 128, 128, 2), x then y, in fractions of the frame.
    """
    if len(frames) < 2:
        return np.zeros((0, SIZE, SIZE, 2), np.float32)
    pictures = frames.movedim(1, -1).cpu().numpy()
    small = [cv2.resize(each, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for each in pictures]
    grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in small]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found = [search.calc(one, other, None) for one, other in itertools.pairwise(grey)]  # type: ignore[call-overload]
    return np.stack(found).astype(np.float32) / np.float32(SIZE)


def hand_speed(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """Speed of what moves fastest (F - 1,), fractions of the frame a frame, of flow as above."""
    speed = np.sort(np.linalg.norm(flow, axis=-1).reshape(len(flow), -1), axis=1)
    return speed[:, -round(FASTEST * speed.shape[1]) :].mean(1)


def cells(flow: NDArray[np.float32], across: int) -> Tensor:
    """Mean flow in across × across cells of the frame, (F - 1, 2 · across²)."""
    side = SIZE // across
    blocks = flow.reshape(len(flow), across, side, across, side, 2).mean((2, 4))
    return torch.from_numpy(blocks.reshape(len(flow), -1))
