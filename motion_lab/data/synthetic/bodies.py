"""Upper bodies: who they are, where their hands can go, and the joint angles that take them there.

Lengths are in units of 100 mm in the frame of :mod:`motion_lab.data.synthetic.identity`. Places of
hands are those of the wrists, relative to the torso, (..., 2, 3): the viewer's left, then right,
each with x outwards, y up and z towards the camera, so that both sides read alike.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from motion_lab.data.synthetic.identity import Body, Identity, sample_identity
from motion_lab.data.synthetic.motion import sample_poses
from motion_lab.data.synthetic.parameters import ARM_LIMITS, BODY_EYES, BODY_VIEW

Floats = npt.NDArray[np.floating]

UPPER_ARM, FOREARM = 2.75, 2.45
"""Length of a middling person's bones."""

SHOULDER = np.array([1.45, -2.35, -0.45])
"""Where a middling person's arm hangs."""

_STRETCH = 0.97  # of the arm's length; an arm that is quite straight has no plane to bend in

SPACE = np.array([(0.4, 3.4), (-5.6, -1.6), (1.55, 3.6)])
"""(3, 2): the gesture space, least and greatest x, y and z of a wrist.

A box before the torso: whatever moves along straight lines from place to place within it never
meets the torso.
"""


def sample_body(rng: np.random.Generator) -> Identity:
    """A random person with an upper body; the same generator state gives the same one.

    The head is drawn first, and is that of ``sample_identity`` in the same state.
    """
    head = sample_identity(rng)
    size = float(head.values["shoulder_w"] / 1.45) ** 0.5
    sleeve = rng.choice([0.55, 0.8, 1.2, 1.92, 1.97], p=[0.2, 0.1, 0.1, 0.3, 0.3])
    values = {
        "upper_arm": UPPER_ARM * size * float(rng.uniform(0.95, 1.05)),
        "forearm": FOREARM * size * float(rng.uniform(0.95, 1.05)),
        "arm_r": 0.40 * size**2 * float(rng.uniform(0.85, 1.15)),
        "hand": size * float(rng.uniform(0.95, 1.08)),
        "sleeve": float(sleeve + rng.uniform(-0.05, 0.02)),
        "waist": 1.40 * size**2 * float(rng.uniform(0.9, 1.12)),
        "view": BODY_VIEW,
        "eye_height": BODY_EYES,
    }
    return Identity(head.values, Body(values))


def reach(wrists: Floats, pole: Floats, palms: Floats) -> Floats:
    """Joint angles that take a middling person's wrists to their places, by two-bone inverse
    kinematics; another person's come near them.

    Args:
        wrists: (F, 2, 3); places out of reach are drawn nearer.
        pole: (..., 3), the direction that elbows point in as far as they can.
        palms: (F, 2), turn of the forearms about themselves, radians.

    Returns:
        (F, 10) float32, in the order of ``parameters.ARMS``.
    """
    upper, fore = UPPER_ARM, FOREARM
    line = wrists - SHOULDER
    distance = np.linalg.norm(line, axis=-1, keepdims=True)
    towards = line / np.maximum(distance, 1e-6)
    distance = np.clip(distance, abs(upper - fore) + 0.6, _STRETCH * (upper + fore))
    # The elbow lies on a circle about the line from shoulder to wrist.
    along = (upper**2 - fore**2 + distance**2) / (2 * distance)
    aside = pole - (pole * towards).sum(-1, keepdims=True) * towards
    aside = aside / np.linalg.norm(aside, axis=-1, keepdims=True)
    elbow = along * towards + np.sqrt(np.maximum(upper**2 - along**2, 0)) * aside
    bone, rest = elbow / upper, (distance * towards - elbow) / fore
    # A hanging arm (0, -1, 0), turned about x by swing and then outwards about z by lift.
    swing = np.arcsin(np.clip(bone[..., 2], -1, 1))
    lift = np.arctan2(bone[..., 0], -bone[..., 1])
    # The forearm in the upper arm's frame, where the elbow bends it towards z.
    x = np.cos(lift) * rest[..., 0] + np.sin(lift) * rest[..., 1]
    y = -np.sin(lift) * rest[..., 0] + np.cos(lift) * rest[..., 1]
    z = np.sin(swing) * y + np.cos(swing) * rest[..., 2]
    bend = np.arccos(np.clip(-(np.cos(swing) * y - np.sin(swing) * rest[..., 2]), -1, 1))
    twist = np.arctan2(-x, z)
    angles = np.stack([lift, swing, twist, bend, palms], -1).reshape(len(wrists), -1)
    return np.clip(angles, ARM_LIMITS[:, 0], ARM_LIMITS[:, 1]).astype(np.float32)


def sample_body_poses(rng: np.random.Generator, frames: int) -> Floats:
    """Independent frames of an upper body, (frames, 26) float32.

    Heads are posed as :func:`~motion_lab.data.synthetic.motion.sample_poses` does; hands are
    anywhere in the gesture space.
    """
    wrists = rng.uniform(SPACE[:, 0], SPACE[:, 1], (frames, 2, 3))
    palms = rng.uniform(-0.3, 1.8, (frames, 2))
    arms = reach(wrists, sample_pole(rng), palms)
    return np.concatenate([sample_poses(rng, frames), arms], axis=1)


def sample_pole(rng: np.random.Generator) -> Floats:
    """Where somebody's elbows point, (3,): outwards, down and back."""
    return np.array([rng.uniform(0.4, 1.1), -1.0, rng.uniform(-0.8, -0.3)])
