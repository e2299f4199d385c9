"""What a rendered frame is held against its target by: pixels, edges, structure and features.

Images are (B, 3, S, S) in [0, 1]; every function gives a scalar, zero for equal images.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from motion_lab.components.blocks import resize
from motion_lab.evaluation.metrics import ssim

_SCALES = 3  # the image itself, half and a quarter of it


def pixels(image: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference, averaged over three scales; weight (B, 1, S, S)."""
    total = image.new_zeros(())
    for scale in range(_SCALES):
        a, b, w = (F.avg_pool2d(x, 2**scale) for x in (image, target, weight))
        total = total + ((a - b).abs() * w).mean()
    return total / _SCALES


def edges(image: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference of the gradients along both axes; weight (B, 1, S, S)."""
    total = image.new_zeros(())
    for axis in (-1, -2):
        difference = (image.diff(dim=axis) - target.diff(dim=axis)).abs()
        total = total + (difference * weight.narrow(axis, 1, difference.shape[axis])).mean()
    return total


def structure(image: Tensor, target: Tensor) -> Tensor:
    """One minus the structural similarity, averaged over three scales; S at least 44."""
    total = image.new_zeros(())
    for scale in range(_SCALES):
        total = total + 1 - ssim(F.avg_pool2d(image, 2**scale), F.avg_pool2d(target, 2**scale))
    return (total / _SCALES).mean()


def perceptual(network: nn.Module, image: Tensor, target: Tensor) -> Tensor:
    """Distance between the maps that a network of kind ``perceptual`` makes of the images.

    Maps are scaled to unit length along their channels first, as in Zhang, Isola, Efros, Shechtman
    and Wang, "The unreasonable effectiveness of deep features as a perceptual metric", 2018; the
    differences are absolute ones, without learned weights.
    """
    total = image.new_zeros(())
    made, true = network(image), network(target)
    for a, b in zip(made, true, strict=True):
        total = total + (F.normalize(a, dim=1) - F.normalize(b.detach(), dim=1)).abs().sum(1).mean()
    return total / len(made)


def weighted_like(weight: Tensor, map_: Tensor) -> Tensor:
    """A weight (B, 1, H, W) at the size of a map, with mean one."""
    weight = resize(weight, map_.shape[-2:])
    return weight / weight.mean()
