"""What a user can ask of a motion: more or less of the head, of the face, and how often it blinks.

Deviations are read as the parameters of a head (`MotionModel.fit_readout`), and what is to change
of those is added to the deviations: whatever else they hold stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from motion_lab.data.synthetic.motion import blinks
from motion_lab.data.synthetic.parameters import HEAD_POSE, MOTION
from motion_lab.data.video import FPS
from motion_lab.errors import UsageError
from motion_lab.models.motion_model import MotionModel

LIDS = ("blink_left", "blink_right")
POSE = ("yaw", "pitch", "roll")


@dataclass(frozen=True)
class Controls:
    """How motion is to differ from what it would be; as it stands here, in nothing.

    Attributes:
        head: scale of the head's movement around where it starts; 0 holds it still.
        expression: scale of the face's, blinks apart.
        blinks: how many a minute, instead of the motion's own; None leaves those.
        pose: yaw, pitch and roll in degrees at the start, relative to the portrait: positive ones
            turn to the viewer's right, up, and tilt the crown to the viewer's right.
    """

    head: float = 1.0
    expression: float = 1.0
    blinks: float | None = None
    pose: tuple[float, float, float] | None = None

    def check(self) -> None:
        """Raise UsageError, naming the option, for what cannot be."""
        for option, value, greatest in (
            ("--head", self.head, 3),
            ("--expression", self.expression, 3),
            ("--blinks", self.blinks or 0, 120),
        ):
            if not 0 <= value <= greatest:
                raise UsageError(f"{option} {value}: choose from 0 to {greatest}.")
        for name, degrees in zip(POSE, self.pose or (), strict=False):
            if not abs(degrees) <= 45:
                raise UsageError(f"--pose: a {name} of {degrees} degrees; choose from -45 to 45.")

    @property
    def any(self) -> bool:
        """Whether anything is asked for."""
        return self != Controls()

    def first(self, model: MotionModel) -> Tensor:
        """The deviation (M,) to start from."""
        parameters = model.directions.new_zeros(len(MOTION))
        for name, degrees in zip(POSE, self.pose or (), strict=False):
            parameters[MOTION.index(name)] = np.radians(degrees)
        return parameters @ model.directions

    def apply(self, deviations: Tensor, model: MotionModel, seed: int) -> Tensor:
        """Deviations (F, M) from the same portrait with what is asked for; ``seed``: of blinks.

        Raises:
            UsageError: the model does not know what its motion means.
        """
        if not self.any:
            return deviations
        if not model.readout.any():
            raise UsageError(
                "This checkpoint's motion model was trained without knowing the head's parameters, "
                "which --head, --expression, --blinks and --pose need; leave them out."
            )
        scale = torch.full((len(MOTION),), self.expression).to(deviations)
        scale[HEAD_POSE] = self.head
        lids = [MOTION.index(name) for name in LIDS]
        scale[lids] = 1.0 if self.blinks is None else 0.0
        parameters = (deviations - self.first(model)) @ model.readout
        change = (scale - 1) * parameters
        if self.blinks:
            gap = 60 * FPS / self.blinks  # frames; people are not clocks
            rng = np.random.default_rng(seed)
            track = blinks(rng, len(deviations), (round(0.4 * gap), round(1.6 * gap) + 1))
            change[:, lids] += torch.from_numpy(track).to(change)[:, None]
        return deviations + change @ model.directions
