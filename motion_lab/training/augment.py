"""Augmentation, which narrows the gap between rendered heads and photographs.

What happens to pictures between a head and whoever looks at it: framing, light, texture, blur,
noise, JPEG. Functions take and give pictures of 8 bits, (S, S, 3), and draw from the generator they
are given; the last two are of stage 1's batches.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from motion_lab.components.blocks import resize
from motion_lab.data.synthetic.parameters import REGIONS
from motion_lab.ops import warp

_SKIN, _WALL = REGIONS.index("skin"), REGIONS.index("background")
_PATTERNS = ("brick", "grass", "gravel", "coffee", "immunohistochemistry", "chelsea")


class Framing(NamedTuple):
    """A map of a frame onto itself, in fractions of it."""

    linear: np.ndarray  # (2, 2)
    offset: np.ndarray  # (2,)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Where points (…, 2) go."""
        return (points @ self.linear.T + self.offset).astype(np.float32)

    def picture(self, image: np.ndarray, size: int, *, labels: bool = False) -> np.ndarray:
        """The picture, or labels (S, S), at ``size`` × ``size`` pixels."""
        # From pixel centres of the one picture to those of the other.
        moved = self.linear * size / image.shape[0]
        start = size * self.offset + moved @ [0.5, 0.5] - 0.5
        return cv2.warpAffine(
            image,
            np.column_stack([moved, start]),
            (size, size),
            flags=cv2.INTER_NEAREST if labels else cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )


AS_IT_IS = Framing(np.eye(2), np.zeros(2))


def random_framing(
    rng: np.random.Generator, *, shift: float = 0.08, zoom: float = 0.15, turn: float = 0.2
) -> Framing:
    """Shift (fractions of the frame), zoom (natural logarithm) and turn (radians) at random."""
    scale, angle = np.exp(rng.uniform(-zoom, zoom)), rng.uniform(-turn, turn)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return Framing(linear, 0.5 + rng.uniform(-shift, shift, 2) - linear @ [0.5, 0.5])


def recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another brightness, contrast, gamma and tint."""
    table = np.arange(256, dtype=np.float32)[:, None] / 255
    gamma = np.exp(rng.uniform(-0.5, 0.5))
    gain = np.exp(rng.uniform(-0.35, 0.35) + rng.uniform(-0.12, 0.12, 3))
    changed = gain * table**gamma + rng.uniform(-0.12, 0.12)
    changed = np.clip(255 * changed, 0, 255).astype(np.uint8)
    return cv2.LUT(image, changed[None])


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur; ``sigma`` in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.1 else image


def add_noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """White noise; ``deviation`` in grey levels of 255."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + deviation * noise, 0, 255).astype(np.uint8)


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """Through JPEG and back; ``quality`` 1 to 100."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def degrade(image: np.ndarray, rng: np.random.Generator, share: float = 0.4) -> np.ndarray:
    """Blur, noise and JPEG, each in a ``share`` of pictures."""
    if rng.random() < share:
        image = blur(image, rng.uniform(0.3, 0.018 * min(image.shape[:2])))
    if rng.random() < share:
        image = add_noise(image, rng.uniform(1, 14), rng)
    if rng.random() < share:
        image = compress(image, int(rng.uniform(15, 90)))
    return image


def cover(image: np.ndarray, rng: np.random.Generator, share: float = 0.2) -> np.ndarray:
    """In a ``share`` of pictures, hide a part behind a patterned rectangle."""
    if rng.random() >= share:
        return image
    size = image.shape[0]
    height, width = rng.integers(size // 10, size // 3, 2)
    y, x = rng.integers(0, size - height), rng.integers(0, size - width)
    out = image.copy()
    out[y : y + height, x : x + width] = pattern(size, rng)[:height, :width]
    return out


def retexture(image: np.ndarray, regions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Photographs mixed into skin, wall and everything, so that no smooth skin is relied on."""
    out = image.astype(np.float32)
    size = image.shape[0]
    for chosen, share in (((regions == _SKIN), 0.4), (regions > _WALL, 0.25)):
        if rng.random() < share:
            strength = rng.uniform(0.1, 0.7) * chosen[..., None]
            out *= 1 + strength * (pattern(size, rng).astype(np.float32) / 127.5 - 1)
    if rng.random() < 0.35:
        wall = (regions == _WALL)[..., None]
        out = np.where(wall, pattern(size, rng), out)
    return np.clip(out, 0, 255).astype(np.uint8)


def pattern(size: int, rng: np.random.Generator) -> np.ndarray:
    """A piece of a photograph without people, or noise of some coarseness, in random colours."""
    if rng.random() < 0.4:
        cells = int(2 ** rng.uniform(1, 6))
        piece = rng.integers(0, 256, (cells, cells, 3)).astype(np.uint8)
    else:
        photographs = _photographs()
        photograph = photographs[rng.integers(len(photographs))]
        side = int(rng.uniform(0.3, 1.0) * min(photograph.shape[:2]))
        y, x = (rng.integers(0, length - side + 1) for length in photograph.shape[:2])
        piece = photograph[y : y + side, x : x + side]
        piece = np.rot90(piece, int(rng.integers(4)))
    return recolour(cv2.resize(piece, (size, size), interpolation=cv2.INTER_LINEAR), rng)


def side_light(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light that falls off across the picture."""
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.6)
    along = np.linspace(-1, 1, len(image))
    ramp = 1 + depth * (np.cos(angle) * along[None, :] + np.sin(angle) * along[:, None])
    return np.clip(image * ramp[..., None], 0, 255).astype(np.uint8)


@functools.cache
def _photographs() -> list[np.ndarray]:
    import skimage.data

    photographs = []
    for name in _PATTERNS:
        photograph = getattr(skimage.data, name)()
        if photograph.ndim == 2:
            photograph = np.repeat(photograph[..., None], 3, axis=2)
        scale = 256 / min(photograph.shape[:2])
        shrunk = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        photographs.append(shrunk)
    return photographs


def texture_pairs(batch: dict[str, Tensor], rng: np.random.Generator, share: float) -> None:
    """Give a share of stage 1's pairs the texture of a photograph, in place.

    Source and target are modulated by the same texture, carried by the renderer's displacement: it
    moves with the surface, and what of brightness and features there was stays where it is.
    """
    chosen = torch.from_numpy(rng.random(len(batch["source"])) < share)
    if not chosen.any():
        return
    source, target = batch["source"][chosen], batch["target"][chosen]
    size = source.shape[-1]
    factors = []
    for _ in range(len(source)):
        relative = pattern(size, rng).astype(np.float32) / 127.5 - 1
        factors.append(torch.from_numpy(1 + np.float32(rng.uniform(0.1, 0.6)) * relative))
    texture = torch.stack(factors).movedim(-1, 1)
    field = resize(batch["displacement"][chosen].movedim(-1, 1), (size, size)).movedim(1, -1)
    batch["source"][chosen] = (source * texture).clamp(0, 1)
    batch["target"][chosen] = (target * warp(texture, field)).clamp(0, 1)


def disturb(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Images (B, 3, S, S) in [0, 1] as another camera in another light might have taken them: a
    motion feature must be read through whatever a driving frame comes with.
    """
    pictures = (image * 255).round().byte().movedim(1, -1).numpy()
    seen = [cover(degrade(_relit(picture, rng), rng), rng, 0.1) for picture in pictures]
    return torch.from_numpy(np.stack(seen)).movedim(-1, 1).float() / 255


def _relit(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    picture = recolour(picture, rng)
    return side_light(picture, rng) if rng.random() < 0.3 else picture
