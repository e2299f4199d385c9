"""Image encoder E: a portrait becomes an appearance volume and skip features."""

from __future__ import annotations

from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock, ResBlock


class ConvVolumeEncoder(nn.Module):
    """Convolutional pyramid whose coarsest map is read as CS channels × DF depth layers.

    Input (B, 3, H, W) in [0, 1], H and W divisible by 4. Returns the volume
    (B, channels, layers, H/4, W/4) and the skips at 1/4, 1/2 and full size, coarse to fine, with
    ``skip_channels`` channels.
    """

    def __init__(
        self, channels: int = 16, layers: int = 4, width: int = 24, blocks: int = 2
    ) -> None:
        super().__init__()
        self.channels, self.layers = channels, layers
        self.skip_channels = [4 * width, 2 * width, width]
        self.at_full = ConvBlock(3, width)
        self.at_half = nn.Sequential(ConvBlock(width, 2 * width, 2), ResBlock(2 * width))
        self.at_quarter = nn.Sequential(
            ConvBlock(2 * width, 4 * width, 2), *(ResBlock(4 * width) for _ in range(blocks))
        )
        self.to_volume = nn.Conv2d(4 * width, channels * layers, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        full = self.at_full(image * 2 - 1)
        half = self.at_half(full)
        quarter = self.at_quarter(half)
        volume = self.to_volume(quarter).unflatten(1, (self.channels, self.layers))
        return volume, [quarter, half, full]
