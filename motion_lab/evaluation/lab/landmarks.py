"""`landmarks`: where a face's points lie, and how far mouth and lids are open."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock, ResBlock, expected_positions, resize
from motion_lab.data.synthetic.renderer import LANDMARK_NAMES
from motion_lab.evaluation.lab.frames import batches
from motion_lab.evaluation.lab.weights import load_network

SIZE = 128
"""Pixels of the square at which the network looks at a frame."""
_WHOLE = 96  # at first
_CELLS = 32  # pixels of a view of a part
_MOUTH_SIDE, _EYE_SIDE = 2.8, 2.1  # of the views, in units of the size of the face

# Points that no expression moves: they tell how large the face is.
_RIGID = (
    "eye_outer_left", "eye_outer_right", "eye_inner_left", "eye_inner_right", "nose_bridge",
    "nose_tip", "nose_wing_left", "nose_wing_right", "cheek_left", "cheek_right",
)  # fmt: skip
_MOUTH = [
    LANDMARK_NAMES.index(name)
    for name in (
        "mouth_corner_left", "mouth_corner_right", "lip_upper_outer", "lip_upper_inner",
        "lip_lower_inner", "lip_lower_outer",
    )
]  # fmt: skip
_CORNERS = _MOUTH[:2]
_LEFT_EYE, _RIGHT_EYE = (
    [
        LANDMARK_NAMES.index(f"{name}_{side}")
        for name in (
            "iris", "eye_outer", "eye_inner", "lid_upper", "lid_lower", "brow_inner", "brow_middle",
            "brow_outer",
        )
    ]
    for side in ("left", "right")
)  # fmt: skip

PARTS = _MOUTH + _LEFT_EYE + _RIGHT_EYE
"""The points that are looked at twice."""


class Landmarks(NamedTuple):
    """Points of B frames, in the order of ``LANDMARK_NAMES``; left and right are the viewer's."""

    points: Tensor  # (B, L, 2), x then y, fractions of the frame
    spread: Tensor  # (B, L), how far off the network thinks a point may be, fractions of the frame


class LandmarkNet(nn.Module):
    """Frames (B, 3, S, S) in [0, 1] → :class:`Landmarks`.

    All points are first found in the whole frame, then those of the mouth and of either eye again
    in an upright view of that part, in which a cell of the heat map is a hundredth of the frame. A
    point is the expectation over its heat map (Sun, Xiao, Wei, Liang and Wei, "Integral human pose
    regression", 2018), which resolves a small part of a cell.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        w = width
        self.stem = ConvBlock(3, w, 2)
        self.quarter = nn.Sequential(ConvBlock(w, 2 * w, 2), ResBlock(2 * w))
        self.eighth = nn.Sequential(ConvBlock(2 * w, 3 * w, 2), ResBlock(3 * w))
        self.sixteenth = nn.Sequential(ConvBlock(3 * w, 5 * w, 2), ConvBlock(5 * w, 5 * w))
        self.to_eighth = nn.Conv2d(5 * w, 3 * w, 1)
        self.at_eighth = ConvBlock(3 * w, 3 * w)
        self.to_quarter = nn.Conv2d(3 * w, 2 * w, 1)
        self.at_quarter = ConvBlock(2 * w, 3 * w)
        self.heat = nn.Conv2d(3 * w, len(LANDMARK_NAMES), 1)
        self.doubt = nn.Linear(5 * w, len(LANDMARK_NAMES))
        self.mouth = _View(len(_MOUTH), w)
        self.eye = _View(len(_LEFT_EYE), w)

    def forward(self, image: Tensor) -> Landmarks:
        rough = self.overview(image)
        return Landmarks(self.look(image, rough.points), rough.spread)

    def overview(self, image: Tensor) -> Landmarks:
        """All points, from the whole frame alone."""
        quarter = self.quarter(self.stem(resize(image, (_WHOLE, _WHOLE)) - 0.5))
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        eighth = self.at_eighth(eighth + resize(self.to_eighth(sixteenth), eighth.shape[-2:]))
        quarter = self.at_quarter(quarter + resize(self.to_quarter(eighth), quarter.shape[-2:]))
        positions, _ = expected_positions(self.heat(quarter), temperature=1.0)
        spread = self.doubt(sixteenth.mean((2, 3))).clamp(-7, 0).exp()
        return Landmarks((positions + 1) / 2, spread)

    def look(self, image: Tensor, points: Tensor) -> Tensor:
        """The points (B, L, 2), with those of mouth and eyes found anew near where they are."""
        points = points.detach()
        image = resize(image, (SIZE, SIZE)) - 0.5
        centre = points[:, _CORNERS].mean(1)
        across = F.normalize(points[:, _CORNERS[1]] - points[:, _CORNERS[0]], dim=1)
        scale = face_scale(points)[:, None]
        anew = points.clone()
        anew[:, _MOUTH] = self.mouth(image, upright(centre, across, _MOUTH_SIDE * scale))
        # The right eye is seen in a mirror: one network knows both.
        for eye, direction in ((_LEFT_EYE, across), (_RIGHT_EYE, -across)):
            centre = points[:, eye[1:3]].mean(1)
            theta = upright(centre, direction, _EYE_SIDE * scale, down=turned(across))
            anew[:, eye] = self.eye(image, theta)
        return anew

    @torch.no_grad()
    def track(self, frames: Tensor, batch: int = 64) -> Landmarks:
        """Landmarks of a clip, (F, 3, S, S) uint8 or floats in [0, 1], a few frames at a time."""
        seen = [self(some) for some in batches(frames, next(self.parameters()).device, batch)]
        return Landmarks(torch.cat([x.points for x in seen]), torch.cat([x.spread for x in seen]))


class _View(nn.Module):
    """Points of one part of the face, in a view of 32 × 32 pixels."""

    def __init__(self, points: int, width: int) -> None:
        super().__init__()
        w = width
        self.full = ConvBlock(3, w)
        self.half_size = nn.Sequential(ConvBlock(w, 2 * w, 2), ConvBlock(2 * w, 2 * w))
        self.quarter = nn.Sequential(ConvBlock(2 * w, 4 * w, 2), ConvBlock(4 * w, 4 * w))
        self.to_half = nn.Conv2d(4 * w, 2 * w, 1)
        self.at_half = ConvBlock(2 * w, 2 * w)
        self.to_full = nn.Conv2d(2 * w, w, 1)
        self.at_full = ConvBlock(w, 2 * w)
        self.heat = nn.Conv2d(2 * w, points, 1)

    def forward(self, image: Tensor, theta: Tensor) -> Tensor:
        """Image (B, 3, S, S) and a view of it (B, 2, 3), see :func:`upright` → (B, K, 2)."""
        full = self.full(cut(image, theta))
        half = self.half_size(full)
        quarter = self.quarter(half)
        half = self.at_half(half + resize(self.to_half(quarter), half.shape[-2:]))
        full = self.at_full(full + resize(self.to_full(half), full.shape[-2:]))
        positions, _ = expected_positions(self.heat(full), temperature=1.0)
        return (positions.to(theta) @ theta[:, :, :2].mT + theta[:, None, :, 2] + 1) / 2


def upright(centre: Tensor, across: Tensor, side: Tensor, down: Tensor | None = None) -> Tensor:
    """Views of frames as the maps (B, 2, 3) that ``torch.nn.functional.affine_grid`` takes.

    Args:
        centre: (B, 2), fractions of the frame.
        across: (B, 2), unit vectors, where a view's x points.
        side: (B, 1), fractions of the frame.
        down: (B, 2), where its y points; ``across`` turned by a quarter if left out.
    """
    down = turned(across) if down is None else down
    # The frame spans -1 to 1 there, and 0 to 1 here.
    return torch.stack([side * across, side * down, 2 * centre - 1], 2)


def cut(images: Tensor, theta: Tensor, pixels: int = _CELLS) -> Tensor:
    """What views (B, 2, 3) of images (B, C, S, S) show: (B, C, pixels, pixels)."""
    grid = F.affine_grid(theta, [*images.shape[:2], pixels, pixels], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def turned(across: Tensor) -> Tensor:
    """Vectors (B, 2), turned by a quarter: from where x points to where y does."""
    return torch.stack([-across[:, 1], across[:, 0]], 1)


def load(device: torch.device | str = "cpu") -> LandmarkNet:
    """The shipped network, in evaluation mode without gradients."""
    network: LandmarkNet = load_network("landmarks", device)
    return network


def found(landmarks: Landmarks, limit: float = 0.04) -> Tensor:
    """(B,) bool: whether there is a face to measure, by the median of the points' spread."""
    return landmarks.spread.median(1).values < limit


def face_scale(points: Tensor) -> Tensor:
    """Size of faces (…,) from points (…, L, 2): root mean square distance of the points that no
    expression moves from their centre.
    """
    rigid = points[..., [LANDMARK_NAMES.index(name) for name in _RIGID], :]
    return (rigid - rigid.mean(-2, keepdim=True)).square().sum(-1).mean(-1).sqrt()


def mouth_opening(points: Tensor) -> Tensor:
    """Gap between the lips (…,) in units of :func:`face_scale`; points (…, L, 2).

    Measured along the face's own downward direction; lips that overlap by a network's error give
    a little below zero, so that errors average out in a closed mouth.
    """
    gap = _point(points, "lip_lower_inner") - _point(points, "lip_upper_inner")
    return (gap * _down(points)).sum(-1) / face_scale(points)


def mouth_width(points: Tensor) -> Tensor:
    """Distance of the corners of the mouth (…,) in units of :func:`face_scale`."""
    corners = _point(points, "mouth_corner_right") - _point(points, "mouth_corner_left")
    return corners.norm(dim=-1) / face_scale(points)


def lid_opening(points: Tensor) -> Tensor:
    """Gap between the lids (…, 2), left and right, in units of :func:`face_scale`."""
    down, scale = _down(points), face_scale(points)
    gaps = [
        ((_point(points, f"lid_lower_{side}") - _point(points, f"lid_upper_{side}")) * down).sum(-1)
        for side in ("left", "right")
    ]
    return torch.stack(gaps, -1) / scale.unsqueeze(-1)


def _point(points: Tensor, name: str) -> Tensor:
    return points[..., LANDMARK_NAMES.index(name), :]


def _down(points: Tensor) -> Tensor:
    """Unit vectors (…, 2) from between the eyes to between the corners of the mouth."""
    names = ("eye_inner", "mouth_corner")
    upper, lower = (
        (_point(points, f"{name}_left") + _point(points, f"{name}_right")) / 2 for name in names
    )
    return F.normalize(lower - upper, dim=-1)
