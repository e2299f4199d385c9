"""Portraits of real people, moved by random smooth warps: driving pairs that need no video."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from motion_lab.components.blocks import pixel_centres, resize
from motion_lab.data.portrait import crop_portrait, load_image
from motion_lab.data.synthetic.pairs import FLOW_SIZE
from motion_lab.data.synthetic.parameters import REGIONS
from motion_lab.errors import UsageError
from motion_lab.ops import warp
from motion_lab.training.augment import random_framing

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_CELLS = 4  # of the grid that bends a picture, a side
_BEND = 0.05  # of its nodes, standard deviation, in halves of the frame


def load_stills(folder: Path, size: int) -> np.ndarray:
    """The faces in a folder's pictures, (N, size, size, 3) uint8, in the order of their names.

    Raises:
        UsageError: there is no such folder, no picture in it, or one that shows no face.
    """
    if not folder.is_dir():
        raise UsageError(f"data.stills: there is no folder {folder}")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UsageError(f"data.stills: no {', '.join(SUFFIXES)} in {folder}")
    try:
        return np.stack([crop_portrait(load_image(path), size)[0] for path in paths])
    except UsageError as error:
        raise UsageError(f"data.stills: {error}") from error


def smooth_warps(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Displacements (count, size, size, 2) float32 in [-1, 1] units: turned, zoomed, shifted and
    bent like rubber, everywhere without a fold.
    """
    at = pixel_centres(size, size, torch.empty(0)).numpy()
    fields = []
    for _ in range(count):
        framing = random_framing(rng)
        linear = framing.linear - np.eye(2)
        moved = at @ linear.T + 2 * framing.offset + framing.linear.sum(1) - 1
        nodes = rng.normal(0, _BEND, (_CELLS, _CELLS, 2)).astype(np.float32)
        fields.append(moved + cv2.resize(nodes, (size, size), interpolation=cv2.INTER_CUBIC))
    return np.stack(fields).astype(np.float32)


def mix_in_stills(
    batch: dict[str, Tensor], stills: np.ndarray, rng: np.random.Generator, share: float
) -> None:
    """Put stills in the place of a share of stage 1's pairs, in place.

    The source is the still, the driving frame the same under a smooth warp, whose displacement is
    the true one. What nobody knows of a still (pose, depth, places) is marked so in ``known``; the
    first pair always stays.
    """
    chosen = torch.from_numpy(rng.random(len(batch["source"])) < share)
    chosen[0] = False
    count = int(chosen.sum())
    if not count:
        return
    drawn = stills[rng.integers(len(stills), size=count)]
    mirrored = rng.random(count) < 0.5
    drawn[mirrored] = drawn[mirrored, :, ::-1]
    source = torch.from_numpy(drawn).movedim(-1, 1).float() / 255
    field = torch.from_numpy(smooth_warps(rng, count, FLOW_SIZE))
    side = source.shape[-1]
    driving = warp(source, resize(field.movedim(-1, 1), (side, side)).movedim(1, -1))
    seen = (pixel_centres(FLOW_SIZE, FLOW_SIZE, field) + field).abs().amax(-1) <= 1
    batch["source"][chosen] = source
    batch["target"][chosen] = driving
    batch["driver"][chosen] = driving
    batch["displacement"][chosen] = field
    batch["visible"][chosen] = seen.float()
    batch["regions"][chosen] = REGIONS.index("skin")
    batch["known"] &= ~chosen
