"""Who can be synthesised: heads, or upper bodies that gesture."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from motion_lab.components.layers import HEAD_DEPTH
from motion_lab.data.synthetic.bodies import sample_body, sample_body_poses
from motion_lab.data.synthetic.gestures import gesturing_motion
from motion_lab.data.synthetic.identity import Identity, sample_identity
from motion_lab.data.synthetic.motion import sample_poses
from motion_lab.data.synthetic.parameters import BODY_MOTION, MOTION
from motion_lab.data.synthetic.renderer import BODY_LANDMARK_NAMES, LANDMARK_NAMES
from motion_lab.data.synthetic.speech import Speech
from motion_lab.data.synthetic.visemes import talking_motion


class World(NamedTuple):
    """A kind of people, and how they move."""

    name: str
    motion: tuple[str, ...]  # names of the P numbers of a motion vector
    landmarks: tuple[str, ...]  # names of the renderer's landmarks
    depth: float  # of what is shown, from its nearest point, in the renderer's unit
    sample: Callable[[np.random.Generator], Identity]
    poses: Callable[[np.random.Generator, int], np.ndarray]  # so many independent ones, (F, P)
    talk: Callable[[Speech, np.random.Generator], np.ndarray]  # somebody saying it, (F, P)


HEADS = World(
    "heads",
    MOTION,
    LANDMARK_NAMES,
    HEAD_DEPTH,
    sample_identity,
    sample_poses,
    talking_motion,
)
BODIES = World(
    "bodies",
    BODY_MOTION,
    BODY_LANDMARK_NAMES,
    4.5,
    sample_body,
    sample_body_poses,
    gesturing_motion,
)

WORLDS = {world.name: world for world in (HEADS, BODIES)}
"""By name, as the configuration's `data.world` has it."""


def portrait_pose(motion: np.ndarray) -> np.ndarray:
    """The pose (1, P) of the portrait that a motion (F, P) starts from: the head at rest, the arms,
    if any, where they are at first.
    """
    pose = motion[:1].copy()
    pose[:, : len(MOTION)] = 0
    return pose
