"""Mouth and eyes drawn again, each through a window at the frame's own size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lab.components.blocks import (
    ConvBlock,
    ResBlock,
    moved,
    pixel_centres,
    resize,
    share_kept,
)
from motion_lab.ops import grid_sample

# Half the width and height of a window, where the frame spans -1 to 1: an open mouth; an eye with
# its brow. At 256² they are as many pixels as the networks have cells.
MOUTH, EYE = (72 / 256, 72 / 256), (40 / 256, 48 / 256)


class DetailWindows(nn.Module):
    """Move and paint what a coarse displacement cannot: lids, pupils, lips, teeth.

    Call: frame (B, 3, S, S) in [0, 1], warped source (B, 3, S, S), places of mouth, left and right
    eye in that frame (B, 3, 2) in [-1, 1], deviation (B, motion_size) → frame (B, 3, S, S).

    Through each window a small network sees the frame and the warped source, is told the motion,
    and moves the frame's pixels a little and paints over some of them. A zero deviation changes
    nothing *by construction*, as in LMDD.
    """

    def __init__(
        self,
        motion_size: int = 64,
        width: int = 16,
        mouth_size: tuple[int, int] = (72, 72),
        eye_size: tuple[int, int] = (48, 40),
    ) -> None:
        super().__init__()
        self.mouth_size, self.eye_size = mouth_size, eye_size
        self.mouth, self.eye = _Painter(motion_size, width), _Painter(motion_size, width)
        # The right eye is seen mirrored, so that both look alike to one network; which part of the
        # motion is theirs, it is told.
        self.left = nn.Linear(motion_size, motion_size, bias=False)
        self.right = nn.Linear(motion_size, motion_size, bias=False)

    def forward(self, image: Tensor, warped: Tensor, places: Tensor, deviation: Tensor) -> Tensor:
        mouth, left, right = places.unbind(1)
        left_motion, right_motion = self.left(deviation), self.right(deviation)
        mirrored = (-EYE[0], EYE[1])
        out = image.clone(memory_format=torch.contiguous_format)
        for painter, size, half, place, motion in (
            (self.mouth, self.mouth_size, MOUTH, mouth, deviation),
            (self.eye, self.eye_size, EYE, left, left_motion),
            (self.eye, self.eye_size, mirrored, right, right_motion),
        ):
            place = _snapped(place, size, half, image)
            window = _window(size, half, place)
            seen = (grid_sample(x, window, padding_mode="border") for x in (image, warped))
            _add(out, painter(*seen, motion), half, place)
        return out.clamp(0, 1)


class _Painter(nn.Module):
    """What is to be added in a window, fading to its border: the frame and the warped source as the
    window shows them, both (B, 3, h, w), and deviation (B, motion_size) → (B, 3, h, w)."""

    def __init__(self, motion_size: int, width: int) -> None:
        super().__init__()
        self.fine = ConvBlock(6, width)
        self.halved = ConvBlock(width, 2 * width, 2)
        self.quartered = nn.Sequential(ConvBlock(2 * width, 4 * width, 2), ResBlock(4 * width))
        self.modulate = nn.Sequential(
            nn.Linear(motion_size, 4 * width), nn.SiLU(), nn.Linear(4 * width, 8 * width)
        )
        self.deep = nn.Sequential(ResBlock(4 * width), ResBlock(4 * width))
        self.to_half = nn.Conv2d(4 * width, 2 * width, 1)
        self.at_half = ConvBlock(2 * width, 2 * width)
        self.to_fine = nn.Conv2d(2 * width, width, 1)
        self.at_fine = ResBlock(width)
        self.colour = nn.Conv2d(width, 3, 3, 1, 1)
        self.gate = nn.Linear(motion_size, width, bias=False)
        self.shift = nn.Conv2d(width, 2, 3, 1, 1, bias=False)
        self.hidden = nn.Conv2d(width, 1, 3, 1, 1, bias=False)
        nn.init.normal_(self.shift.weight, std=0.05 / (3 * width**0.5))

    def forward(self, patch: Tensor, warped: Tensor, deviation: Tensor) -> Tensor:
        fine = self.fine(torch.cat([patch, warped], 1) * 2 - 1)
        half = self.halved(fine)
        scale, shift = self.modulate(deviation)[..., None, None].chunk(2, 1)
        x = self.deep(F.silu(self.quartered(half) * (1 + scale) + shift))
        x = self.at_half(half + resize(self.to_half(x), half.shape[-2:]))
        x = self.at_fine(fine + resize(self.to_fine(x), fine.shape[-2:]))
        gated = x * self.gate(deviation)[..., None, None]
        # Colours are told from the window's mean: skin is right before anything is learned.
        mean = patch.mean((2, 3), keepdim=True).clamp(0.02, 0.98)
        colour = torch.sigmoid(self.colour(x).float() + torch.logit(mean))
        kept = share_kept(self.hidden(gated).float(), rest=2.0)
        drawn = torch.lerp(colour, moved(patch, self.shift(gated).movedim(1, -1)), kept)
        return (drawn - patch) * _fade(drawn)


def _fade(like: Tensor) -> Tensor:
    """(h, w): 1 inside, 0 at the border, a cosine over the outer sixth."""
    h, w = like.shape[-2:]
    edge = (1 - pixel_centres(h, w, like).abs()).mul(3).clamp(max=1)
    return (0.5 - 0.5 * torch.cos(torch.pi * edge)).prod(-1)


def _snapped(
    place: Tensor, cells: tuple[int, int], half: tuple[float, float], image: Tensor
) -> Tensor:
    """Places (B, 2) moved by less than a pixel, so that a window's first cell lies on a pixel: what
    is drawn at a pixel's size reaches the frame without being interpolated."""
    size = place.new_tensor([image.shape[-1], image.shape[-2]])
    first = place - place.new_tensor([half[0] * (1 - 1 / cells[1]), half[1] * (1 - 1 / cells[0])])
    pixel = ((first + 1) / 2 * size - 0.5).round()
    return place + ((2 * pixel + 1) / size - 1 - first)


def _window(size: tuple[int, int], half: tuple[float, float], place: Tensor) -> Tensor:
    """Where a window of (h, w) cells around places (B, 2) looks in the frame: (B, h, w, 2)."""
    h, w = size
    return place[:, None, None] + pixel_centres(h, w, place) * place.new_tensor(half)


def _add(image: Tensor, patch: Tensor, half: tuple[float, float], place: Tensor) -> None:
    """Add patches to images (B, 3, H, W), in place, where their windows lie in them."""
    height, width = image.shape[-2:]
    extent = place.new_tensor(half)
    # Only the pixels with their centres in a window, counted from the first in row and column.
    size = place.new_tensor([width, height])
    first = torch.ceil((place - extent.abs() + 1) / 2 * size - 0.5)
    x, y = (
        first[:, i, None] + torch.arange(int(abs(half[i]) * n) + 1, device=place.device)
        for i, n in enumerate((width, height))
    )
    pixels = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
    grid = ((2 * pixels + 1) / size - 1 - place[:, None, None]) / extent
    sampled = grid_sample(patch, grid, padding_mode="zeros")
    seen = ((pixels >= 0) & (pixels < size) & (grid.abs() <= 1)).all(-1)
    index = (y.clamp(0, height - 1)[:, :, None] * width + x.clamp(0, width - 1)[:, None, :]).long()
    image.flatten(2).scatter_add_(
        2, index.flatten(1)[:, None].expand(-1, 3, -1), (sampled * seen[:, None]).flatten(2)
    )
