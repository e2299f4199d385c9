"""VGG-19, in which images are compared: Simonyan and Zisserman, arXiv 1409.1556."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from motion_lab.foreign_weights import fill, read_state

# What torchvision calls `features`, up to the first layer of the fifth block; 0 halves the map.
_LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512)
_TAPS = (2, 7, 12, 21, 30)  # relu1_1, relu2_1, relu3_1, relu4_1, relu5_1: how many layers before
# What the network was trained with: mean and deviation of ImageNet.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG19(nn.Module):
    """Images (B, 3, S, S) in [0, 1] → maps of 64, 128, 256, 512, 512 channels at S … S/16.

    The first activation of each block, as perceptual losses take them (Johnson, Alahi and Fei-Fei,
    arXiv 1603.08155). The weights are ImageNet's, never part of a checkpoint and never trained.

    Args:
        weights: torchvision's ``vgg19-dcbb9e9d.pth``, a file of yours; nothing is downloaded.

    Raises:
        UsageError: there is no such file, or it holds another network.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.features = vgg_layers(_LAYERS)
        fill(self, read_state(Path(weights), "VGG-19"), Path(weights), "torchvision's VGG-19")
        for name, values in (("mean", _MEAN), ("deviation", _DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = (image - self.mean) / self.deviation
        maps = []
        for start, end in pairwise((0, *_TAPS)):
            x = self.features[start:end](x)
            maps.append(x)
        return maps


def vgg_layers(widths: tuple[int, ...]) -> nn.Sequential:
    """Convolutions with ReLU of these widths, 0 for a pooling; numbered as torchvision does."""
    layers: list[nn.Module] = []
    inputs = 3
    for width in widths:
        if width:
            layers += [nn.Conv2d(inputs, width, 3, 1, 1), nn.ReLU()]
            inputs = width
        else:
            layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)
