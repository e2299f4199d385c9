"""Who can be synthesised: heads, or upper bodies that gesture."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

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
    sample: Callable[[np.random.Generator], Identity]
    poses: Callable[[np.random.Generator, int], np.ndarray]  # so many independent ones, (F, P)
    talk: Callable[
        [Speech, Identity, np.random.Generator], np.ndarray
    ]  # somebody saying it, (F, P)


HEADS = World(
    "heads",
    MOTION,
    LANDMARK_NAMES,
    sample_identity,
    sample_poses,
    lambda speech, identity, rng: talking_motion(speech, rng),
)
BODIES = World(
    "bodies", BODY_MOTION, BODY_LANDMARK_NAMES, sample_body, sample_body_poses, gesturing_motion
)

WORLDS = {world.name: world for world in (HEADS, BODIES)}
"""By name, as the configuration's `data.world` has it."""
