"""Motion Appearance Decoder (MAD) and image decoder D: warped appearance becomes the frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock, ResBlock, resize


class MADRenderer(nn.Module):
    """Warp first, generate little.

    Call: warped volume (B, CS, DF, h, w); warped skips at 1, 2 and 4 times h × w (coarse to fine);
    masks (B, 1, ·, ·) of any size, coarse to fine; the warped source (B, 3, S, S) in [0, 1] →
    frame (B, 3, S, S). Attention over the depth layers gives F_AA; the decoder generates an image
    at 4·h × 4·w from it and the masked skips, and the finest mask decides, pixel by pixel at the
    source's own resolution, how much of the warped source stays.
    """

    def __init__(
        self,
        channels: int = 16,
        layers: int = 4,
        skip_channels: Sequence[int] = (64, 32, 16),
        width: int = 64,
        blocks: int = 1,
    ) -> None:
        super().__init__()
        volume = channels * layers
        self.layer_attention = nn.Conv2d(volume, layers, 3, 1, 1)
        self.entry = ConvBlock(volume + skip_channels[0], width)
        self.trunk = nn.Sequential(*(ResBlock(width) for _ in range(blocks)))
        self.to_half = nn.Conv2d(width, width // 2, 1)
        self.half_join = ConvBlock(width // 2 + skip_channels[1], width // 2)
        self.to_full = nn.Conv2d(width // 2, width // 4, 1)
        self.full_join = ConvBlock(width // 4 + skip_channels[2], width // 4)
        self.to_rgb = nn.Conv2d(width // 4, 3, 3, 1, 1)

    def generate(
        self,
        volume: Tensor,
        skips: Sequence[Tensor],
        masks: Sequence[Tensor],
    ) -> Tensor:
        """The generated branch alone: (B, 3, 4h, 4w)."""
        flat = volume.flatten(1, 2)
        attention = self.layer_attention(flat).softmax(1).unsqueeze(1)
        attended = (volume * attention).flatten(1, 2)
        quarter, half, full = (_masked(skip, masks) for skip in skips)
        x = self.trunk(self.entry(torch.cat([attended, quarter], 1)))
        x = resize(self.to_half(x), half.shape[-2:])
        x = resize(self.to_full(self.half_join(torch.cat([x, half], 1))), full.shape[-2:])
        return torch.sigmoid(self.to_rgb(self.full_join(torch.cat([x, full], 1))))

    def forward(
        self,
        volume: Tensor,
        skips: Sequence[Tensor],
        masks: Sequence[Tensor],
        source: Tensor,
    ) -> Tensor:
        generated = resize(self.generate(volume, skips, masks), source.shape[-2:])
        kept = resize(masks[-1], source.shape[-2:])
        return torch.lerp(generated.to(source.dtype), source, kept.to(source.dtype))


def _masked(skip: Tensor, masks: Sequence[Tensor]) -> Tensor:
    """A skip times the mask nearest in size."""
    mask = min(masks, key=lambda m: abs(m.shape[-1] - skip.shape[-1]))
    mask = F.interpolate(mask, skip.shape[-2:], mode="bilinear", align_corners=False)
    return skip * mask
