"""Latent Motion Deviation Decoder (LMDD): a deviation becomes displacement fields {Δ} and masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock, ResBlock, moved, resize, share_kept
from motion_lab.components.protocols import MotionField
from motion_lab.ops import region_attention


class LMDD(nn.Module):
    """Coarse-to-fine decoder with region-aware attention and a mask module.

    Call: volume (B, CS, DF, h, w), depth cues at each of ``scales`` [(B, DF, h·s, w·s)], deviation
    (B, motion_size) → one :class:`MotionField` per scale, coarse to fine, with displacement
    (B, DF, h·s, w·s, 3) in normalised coordinates, weight (B, DF, h·s, w·s) that mixes the layers
    into the field seen in the image plane, and mask (B, 1, h·s, w·s): the share of a pixel that
    the warped source explains.

    With ``follow``, a level sees the appearance already moved by the coarser levels' displacement,
    so that it has only the rest to find; without, it sees it at rest.

    A zero deviation gives zero displacement and a mask of ones *by construction*: every output
    is a bias-free reading of features gated by a bias-free map of the deviation.
    """

    scales = (0.5, 1.0, 2.0)

    def __init__(
        self,
        channels: int = 16,
        layers: int = 4,
        motion_size: int = 64,
        widths: Sequence[int] = (64, 48, 32),
        regions: int = 6,
        heads: int = 4,
        attention: bool = True,
        mask: bool = True,
        follow: bool = False,
    ) -> None:
        super().__init__()
        self.layers, self.follow = layers, follow
        self.levels = nn.ModuleList(
            _Level(
                channels * layers,
                previous,
                width,
                layers,
                motion_size,
                # The finest level moves pixels, not meaning: attention there would cost the most.
                RegionAttention(width, regions, heads) if attention and scale <= 1 else None,
                mask,
            )
            for previous, width, scale in zip((0, *widths[:-1]), widths, self.scales, strict=True)
        )

    def forward(
        self, volume: Tensor, depth: Sequence[Tensor], deviation: Tensor
    ) -> list[MotionField]:
        h, w = volume.shape[-2:]
        fields: list[MotionField] = []
        features: Tensor | None = None
        displacement: Tensor | None = None
        hidden: Tensor | None = None
        for level, scale, cue in zip(self.levels, self.scales, depth, strict=True):
            size = (int(h * scale), int(w * scale))
            appearance = resize(volume.flatten(1, 2), size).unflatten(1, volume.shape[1:3])
            appearance = appearance * cue.unsqueeze(1)
            previous = None if features is None else resize(features, size)
            if displacement is not None:
                displacement = resize(displacement, size)
                if self.follow:
                    appearance = moved(appearance, self._layered(displacement))
            features, step, weight, hidden_step = level(
                appearance.flatten(1, 2), previous, deviation
            )
            displacement = step if displacement is None else displacement + step
            if hidden_step is not None:
                hidden = hidden_step if hidden is None else resize(hidden, size) + hidden_step
            fields.append(
                MotionField(self._layered(displacement), weight, _share_kept(hidden, displacement))
            )
        return fields

    def _layered(self, displacement: Tensor) -> Tensor:
        """(B, 3 DF, h, w) → (B, DF, h, w, 3)."""
        return displacement.unflatten(1, (self.layers, 3)).movedim(2, -1)


# At no hidden evidence the sigmoid gives 0.982; what lies above is stretched to exactly 1, so that
# an unmoved source passes untouched.
_REST = 4.0


def _share_kept(hidden: Tensor | None, like: Tensor) -> Tensor:
    if hidden is None:
        return like.new_ones(like.shape[0], 1, *like.shape[-2:])
    return share_kept(hidden, _REST)


class _Level(nn.Module):
    """One scale: features conditioned on the deviation, read as displacement, weight and mask."""

    def __init__(
        self,
        appearance: int,
        previous: int,
        width: int,
        layers: int,
        motion_size: int,
        attention: RegionAttention | None,
        mask: bool,
    ) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(appearance, width, 1)
        self.entry = ConvBlock(width + previous, width)
        self.modulate = nn.Sequential(
            nn.Linear(motion_size, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width)
        )
        self.attention = attention
        self.body = ResBlock(width)
        self.gate = nn.Linear(motion_size, width, bias=False)
        self.displacement = nn.Conv2d(width, 3 * layers, 3, 1, 1, bias=False)
        self.weight = nn.Conv2d(width, layers, 1)
        self.hidden = nn.Conv2d(width, 1, 3, 1, 1, bias=False) if mask else None
        nn.init.normal_(self.displacement.weight, std=0.2 / (3 * width**0.5))

    def forward(
        self, appearance: Tensor, previous: Tensor | None, deviation: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        x = self.reduce(appearance)
        x = self.entry(x if previous is None else torch.cat([x, previous], 1))
        scale, shift = self.modulate(deviation)[..., None, None].chunk(2, 1)
        x = F.silu(x * (1 + scale) + shift)
        if self.attention is not None:
            x = self.attention(x)
        x = self.body(x)
        moved = x * self.gate(deviation)[..., None, None]
        hidden = None if self.hidden is None else self.hidden(moved)
        return x, self.displacement(moved), self.weight(x).softmax(1), hidden


class RegionAttention(nn.Module):
    """Attention within regions that the module predicts itself; keeps shape (B, width, H, W).

    Every position is assigned to its most probable region and attends to the positions of the
    same region. The choice is hard, so that cost falls with the number of regions; gradients reach
    the predictor because the attended value is scaled by the probability of the region chosen.
    """

    def __init__(self, width: int, regions: int, heads: int) -> None:
        super().__init__()
        if not 1 <= regions <= 63:
            raise ValueError(f"regions must be 1 to 63 (one bit each of an int64), got {regions}")
        self.heads = heads
        self.regions = nn.Conv2d(width, regions, 1)
        self.normalise = nn.BatchNorm2d(width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        normed = self.normalise(x)
        probability, region = self.regions(normed).softmax(1).max(1)
        words = torch.ones_like(region).bitwise_left_shift(region).flatten(1)
        q, k, v = (
            self.qkv(normed).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2)
        ).unbind(1)
        attended = region_attention(q, k, v, words, words)
        attended = attended.transpose(-1, -2).flatten(1, 2).unflatten(-1, (h, w))
        return x + probability.unsqueeze(1) * self.out(attended)
