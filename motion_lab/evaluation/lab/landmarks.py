"""`landmarks`: where a face's points lie, and how far mouth and lids are open."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock, ResBlock, expected_positions, resize
from motion_lab.data.synthetic.renderer import LANDMARK_NAMES
from motion_lab.evaluation.lab.weights import load_network

SIZE = 96
"""Pixels of the square at which the network looks at a frame."""

# Points that no expression moves: they tell how large the face is.
_RIGID = (
    "eye_outer_left", "eye_outer_right", "eye_inner_left", "eye_inner_right", "nose_bridge",
    "nose_tip", "nose_wing_left", "nose_wing_right", "cheek_left", "cheek_right",
)  # fmt: skip


class Landmarks(NamedTuple):
    """Points of B frames, in the order of ``LANDMARK_NAMES``; left and right are the viewer's."""

    points: Tensor  # (B, L, 2), x then y, fractions of the frame
    spread: Tensor  # (B, L), how far off the network thinks a point may be, fractions of the frame


class LandmarkNet(nn.Module):
    """Frames (B, 3, S, S) in [0, 1] → :class:`Landmarks`.

    An hourglass down to a sixteenth and back to a quarter of 96 × 96 pixels; a point is the
    expectation over its heat map (Sun, Xiao, Wei, Liang and Wei, "Integral human pose regression",
    2018), which resolves a small part of a cell.
    """

    def __init__(self, width: int = 20) -> None:
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

    def forward(self, image: Tensor) -> Landmarks:
        quarter = self.quarter(self.stem(resize(image, (SIZE, SIZE)) - 0.5))
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        eighth = self.at_eighth(eighth + resize(self.to_eighth(sixteenth), eighth.shape[-2:]))
        quarter = self.at_quarter(quarter + resize(self.to_quarter(eighth), quarter.shape[-2:]))
        positions, _ = expected_positions(self.heat(quarter), temperature=1.0)
        spread = self.doubt(sixteenth.mean((2, 3))).clamp(-7, 0).exp()
        return Landmarks((positions + 1) / 2, spread)

    @torch.no_grad()
    def track(self, frames: Tensor, batch: int = 64) -> Landmarks:
        """Landmarks of a clip, (F, 3, S, S) uint8 or floats in [0, 1], a few frames at a time."""
        device = next(self.parameters()).device
        found = []
        for some in frames.split(batch):
            some = some.to(device)
            found.append(self(some.float() / 255 if some.dtype == torch.uint8 else some))
        return Landmarks(torch.cat([x.points for x in found]), torch.cat([x.spread for x in found]))


def load(device: torch.device | str = "cpu") -> LandmarkNet:
    """The shipped network, in evaluation mode without gradients."""
    network: LandmarkNet = load_network("landmarks", device)
    return network


def found(landmarks: Landmarks, limit: float = 0.06) -> Tensor:
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
    return nn.functional.normalize(lower - upper, dim=-1)
