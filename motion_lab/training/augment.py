"""Augmentation that narrows the gap between rendered heads and photographs.

A pair stays true: what changes the source's appearance is carried to the target by the renderer's
displacement. What drives a pair is disturbed on its own, because a motion feature must be read
through whatever light, texture and compression a frame comes with.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from motion_lab.components.blocks import resize
from motion_lab.ops import warp

# Photographs that come with scikit-image and show no human face: portraits at hand are for tests.
_PHOTOGRAPHS = (
    "brick.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg",
    "rocket.jpg",
)  # fmt: skip


def texture_pairs(batch: dict[str, Tensor], rng: np.random.Generator, share: float) -> None:
    """Give a share of the pairs the texture of a photograph, in place.

    Source and target are modulated by the same texture, which moves with the surface; so brightness
    and features of the face stay where they are.
    """
    chosen = torch.from_numpy(rng.random(len(batch["source"])) < share)
    if not chosen.any():
        return
    source, target = batch["source"][chosen], batch["target"][chosen]
    size = source.shape[-1]
    texture = torch.stack([_texture(rng, size) for _ in range(len(source))])
    field = resize(batch["displacement"][chosen].movedim(-1, 1), (size, size)).movedim(1, -1)
    batch["source"][chosen] = (source * texture).clamp(0, 1)
    batch["target"][chosen] = (target * warp(texture, field)).clamp(0, 1)


def disturb(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Images (B, 3, S, S) as another camera in another light might have taken them.

    Gain per channel and gamma for all; for some a texture, light from one side, blur, noise, JPEG,
    or something in front of a corner.
    """
    count, size = len(image), image.shape[-1]
    gain = torch.from_numpy(rng.uniform(0.75, 1.3, (count, 3, 1, 1)).astype(np.float32))
    gamma = torch.from_numpy(rng.uniform(0.7, 1.4, (count, 1, 1, 1)).astype(np.float32))
    image = (image.clamp(min=1e-3) ** gamma * gain).clamp(0, 1)
    return torch.stack([_photographed(one, size, rng) for one in image])


def _photographed(image: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    if rng.random() < 0.3:
        image = image * _texture(rng, size)
    if rng.random() < 0.3:
        image = image * _side_light(rng, size)
    pixels = np.ascontiguousarray((image.clamp(0, 1) * 255).byte().movedim(0, -1).numpy())
    if rng.random() < 0.2:
        _cover_a_corner(pixels, rng)
    if rng.random() < 0.3:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, size / 128))
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(1, 8), pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))]
        _, packed = cv2.imencode(".jpg", pixels, quality)
        pixels = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
    return torch.from_numpy(pixels).movedim(-1, 0).float() / 255


def _texture(rng: np.random.Generator, size: int) -> Tensor:
    """A factor around one, (3, S, S), from a random part of a photograph."""
    photograph = _photographs()[rng.integers(len(_PHOTOGRAPHS))]
    side = int(rng.integers(size // 2, min(photograph.shape[:2]) + 1))
    top = int(rng.integers(photograph.shape[0] - side + 1))
    left = int(rng.integers(photograph.shape[1] - side + 1))
    part = photograph[top : top + side, left : left + side]
    part = cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    if rng.random() < 0.5:
        part = part[:, ::-1]
    relative = part / max(1.0, float(part.mean())) - 1
    factor = 1 + rng.uniform(0.1, 0.6) * np.clip(relative, -1, 1.5)
    return torch.from_numpy(np.ascontiguousarray(factor, np.float32)).movedim(-1, 0)


def _side_light(rng: np.random.Generator, size: int) -> Tensor:
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.6)
    along = torch.linspace(-1, 1, size)
    ramp = np.cos(angle) * along[None, :] + np.sin(angle) * along[:, None]
    return 1 + depth * ramp.float()


def _cover_a_corner(pixels: np.ndarray, rng: np.random.Generator) -> None:
    size = len(pixels)
    corner = rng.integers(0, 2, 2) * size
    axes = rng.uniform(0.1, 0.3, 2) * size
    colour = [int(c) for c in rng.integers(0, 256, 3)]
    middle, half = (int(corner[0]), int(corner[1])), (int(axes[0]), int(axes[1]))
    cv2.ellipse(pixels, middle, half, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)


@cache
def _photographs() -> list[np.ndarray]:
    folder = files("skimage.data")
    pictures = []
    for name in _PHOTOGRAPHS:
        with folder.joinpath(name).open("rb") as file, Image.open(file) as picture:
            pictures.append(np.asarray(picture.convert("RGB")))
    return pictures
