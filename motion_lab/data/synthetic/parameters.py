"""The names and ranges that describe how a synthetic head or upper body moves and what its pixels
show.

"Left" and "right" are the viewer's. Neutral is all zeros: face to the camera, mouth closed, eyes
open, arms straight down.
"""

from __future__ import annotations

import numpy as np

MOTION = (
    "yaw",  # radians, > 0 turns to the right
    "pitch",  # radians, > 0 looks up
    "roll",  # radians, > 0 tilts the crown to the right
    "shift_x",  # fractions of the frame, > 0 to the right
    "shift_y",  # fractions of the frame, > 0 downwards
    "zoom",  # natural logarithm of the magnification
    "jaw",  # 0 closed .. 1 wide open
    "lip_width",  # -1 pucker .. 1 spread
    "lip_press",  # 0 .. 1 lips pressed together, also while the jaw is down
    "smile",  # -1 .. 1
    "blink_left",  # 0 open .. 1 shut
    "blink_right",
    "gaze_x",  # radians, the signs of yaw and pitch
    "gaze_y",
    "brow_raise",  # -1 .. 1
    "brow_frown",  # 0 .. 1
)
"""Names of the 16 numbers of a motion vector, in order."""

_ARM = (
    "lift",  # sideways, away from the body
    "swing",  # forwards
    "twist",  # of the upper arm about itself, > 0 takes a bent forearm inwards
    "elbow",  # bend
    "palm",  # of the forearm about itself, > 0 turns the thumb inwards
)
ARMS = tuple(f"{name}_{side}" for side in ("left", "right") for name in _ARM)
"""Names of the ten joint angles, in radians, that a body has beside :data:`MOTION`, in order."""

BODY_MOTION = MOTION + ARMS
"""Names of the 26 numbers of an upper body's motion vector: a head's, then the arms'."""

HEAD_POSE = slice(0, MOTION.index("zoom") + 1)
"""Which of them move the head as a whole."""

STEADINESS = {
    **dict.fromkeys((*MOTION[HEAD_POSE], "smile", "brow_raise", "brow_frown"), 1 / 4),
    **dict.fromkeys(("jaw", "lip_width"), 1 / 16),
}
"""How much of a frame's value may be that of either frame beside it: a head and a brow never change
within a frame or two, a jaw hardly, lids and gaze do."""

LIMITS = np.array(
    [
        (-1.2, 1.2), (-0.9, 0.9), (-0.9, 0.9), (-0.5, 0.5), (-0.5, 0.5), (-1.0, 1.0),
        (0, 1), (-1, 1), (0, 1), (-1, 1), (0, 1), (0, 1), (-0.5, 0.5), (-0.4, 0.4),
        (-1, 1), (0, 1),
    ],
    dtype=np.float32,
)  # fmt: skip
"""(16, 2): the least and greatest value that the renderer can show of each."""

ARM_LIMITS = np.array(
    2 * [(-0.3, 2.6), (-0.9, 2.8), (-1.6, 1.9), (0, 2.6), (-0.6, 2.6)], np.float32
)
"""(10, 2): the same of the arms, which is about what a person's joints can do."""

BODY_VIEW = 2.6
"""How many times as much as a head's frame a body's spans."""

BODY_EYES = 0.20
"""Height of the eyes in a body's frame at rest, from the top; a head's has them at 0.42."""

REGIONS = (
    "background", "skin", "eyes", "brows", "lips", "mouth_interior", "hair", "ears", "neck",
    "clothes", "glasses",
)  # fmt: skip
"""What a pixel of a head shows; its label is the index."""

BODY_REGIONS = (*REGIONS, "arms", "hands")
"""The same of a body; arms are upper arms and forearms, whether bare or in sleeves."""

CHANNELS = ("image", "depth", "regions", "landmarks")
"""What :func:`motion_lab.data.synthetic.renderer.render` can give."""
