"""How a base model moves a photograph, for which there is no truth: pictures, and few scores.

Synthetic heads perform; the portrait gets their motion relative to their own rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from motion_lab.data.portrait import Image, crop_portrait
from motion_lab.data.synthetic.identity import sample_identity
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.renderer import render
from motion_lab.data.video import contact_sheet
from motion_lab.evaluation.metrics import psnr, sharpness
from motion_lab.inference.motion import to_pictures, to_tensor
from motion_lab.models.base_model import BaseModel

POSES: dict[str, dict[str, float]] = {
    "rest": {},
    "mouth half open": {"jaw": 0.4},
    "mouth open": {"jaw": 0.85},
    "rounded": {"jaw": 0.25, "lip_width": -0.9},
    "spread": {"jaw": 0.15, "lip_width": 0.9},
    "smile": {"smile": 0.9},
    "eyes shut": {"blink_left": 1.0, "blink_right": 1.0},
    "eyes left": {"gaze_x": -0.35},
    "brows up": {"brow_raise": 0.9},
    "turned left": {"yaw": -0.4},
    "turned right": {"yaw": 0.4},
    "nodding": {"pitch": -0.25},
    "tilted": {"roll": 0.2},
}
"""What is performed: values of motion parameters, the rest of them 0."""

# Seeds of the performers; training draws its people otherwise.
_PERFORMERS = 9_000_000
# Where the face is in a portrait crop: middle and half axes of an ellipse, fractions of the frame.
_FACE = ((0.5, 0.55), (0.19, 0.25))


class PortraitScores(NamedTuple):
    """What :func:`evaluate_portrait` finds."""

    scores: dict[str, float]
    sheet: Image  # the portrait and its poses in rows, one a performer, the performer above


@torch.no_grad()
def evaluate_portrait(model: BaseModel, picture: Image, performers: int = 2) -> PortraitScores:
    """Let synthetic heads drive a portrait through :data:`POSES`.

    Args:
        picture: (H, W, 3) uint8 with a face to find.
        performers: how many heads, each of which drives once.

    Returns:
        psnr_rest, in dB, of the model given no motion, against the portrait; sharpness, the
        gradient magnitude within the face over the portrait's, averaged over the poses, and
        sharpness_least, that of the worst pose; and the contact sheet.

    Raises:
        UsageError: no face was found.
    """
    device = next(model.parameters()).device
    crop, _ = crop_portrait(picture, model.image_size)
    source = model.encode_source(to_tensor([crop], device))
    still = model.decode(source, torch.zeros_like(source.motion)).image
    face = _face(model.image_size).to(device)
    rows: list[Image] = []
    sharp = []
    for performer in range(performers):
        played = _perform(model.image_size, performer)
        motion = model.encode_motion(to_tensor(list(played), device))
        image = model.decode(source.expand(len(motion)), motion - motion[:1]).image
        sharp.append(sharpness(image, source.image.expand_as(image), face))
        rows += [*played, *to_pictures(image)]
    by_pose = torch.stack(sharp).mean(0)
    scores = {
        "psnr_rest": psnr(still, source.image).item(),
        "sharpness": by_pose.mean().item(),
        "sharpness_least": by_pose.min().item(),
    }
    return PortraitScores(scores, contact_sheet(rows, len(POSES)))


def _perform(size: int, performer: int) -> np.ndarray:
    """The poses of one synthetic head, (P, S, S, 3) uint8."""
    motion = np.zeros((len(POSES), len(MOTION)), np.float32)
    for row, values in zip(motion, POSES.values(), strict=True):
        for name, value in values.items():
            row[MOTION.index(name)] = value
    identity = sample_identity(np.random.default_rng([_PERFORMERS, performer]))
    return render(identity, motion, size, samples=2, threads=torch.get_num_threads()).image


def _face(size: int) -> Tensor:
    centres = (torch.arange(size) + 0.5) / size
    (x, y), (a, b) = _FACE
    inside = ((centres - x) / a).square()[None, :] + ((centres - y) / b).square()[:, None] <= 1
    return inside[None, None]
