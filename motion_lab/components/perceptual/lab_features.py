"""Feature maps of a small network trained on synthetic heads, in which images are compared."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock

WEIGHTS = Path(__file__).parents[2] / "checkpoints" / "lab" / "features.safetensors"


class LabFeatures(nn.Module):
    """Images (B, 3, S, S) in [0, 1] → five maps at S, S/2, S/4, S/8 and S/16, `channels` wide.

    Trained to tell regions, points, motion and person, and which harm was done to a picture and
    how much of it (checkpoints/lab/MODEL_CARD.md): distances grow with blur, noise, JPEG and wrong
    motion. Maps come from batch-normalised layers, so that all their channels, and all scales,
    have about the same spread: a plain mean of absolute differences weighs them alike.

    Args:
        width: channels of the first map.
        pretrained: take the shipped weights, which then stay as they are; False for training it.

    Raises:
        FileNotFoundError: the shipped weights are missing.
    """

    def __init__(self, width: int = 16, pretrained: bool = True) -> None:
        super().__init__()
        w = width
        self.channels = (w, 2 * w, 3 * w, 4 * w, 6 * w)
        self.stages = nn.ModuleList(
            [
                ConvBlock(3, w),
                ConvBlock(w, 2 * w, 2),
                nn.Sequential(ConvBlock(2 * w, 3 * w, 2), ConvBlock(3 * w, 3 * w)),
                nn.Sequential(ConvBlock(3 * w, 4 * w, 2), ConvBlock(4 * w, 4 * w)),
                nn.Sequential(ConvBlock(4 * w, 6 * w, 2), ConvBlock(6 * w, 6 * w)),
            ]
        )
        self.pretrained = pretrained
        if pretrained:
            from safetensors.torch import load_file

            self.load_state_dict(load_file(WEIGHTS))
            self.requires_grad_(False)
            self.train(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = []
        x = image - 0.5
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def train(self, mode: bool = True) -> LabFeatures:
        """As of any module; shipped weights stay in use, whatever trains around them."""
        super().train(mode and not self.pretrained)
        return self
