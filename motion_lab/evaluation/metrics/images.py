"""How near frames come to their targets, as plain functions of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# A frame equal to its target would be infinitely good; 8-bit frames cannot tell more than this.
_BEST_PSNR = 60.0


def psnr(image: Tensor, target: Tensor, where: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB of each image, at most 60.

    Args:
        image, target: (B, 3, S, S) in [0, 1].
        where: (B, 1, S, S) bool, the pixels that count; all of them if left out.

    Returns:
        (B,), NaN for an image without any pixel that counts.
    """
    error = (image - target).square().mean(1, keepdim=True)
    if where is None:
        mean = error.mean((1, 2, 3))
    else:
        mean = (error * where).sum((1, 2, 3)) / where.sum((1, 2, 3))
    return (-10 * mean.log10()).clamp(max=_BEST_PSNR)


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each image to its target, at most 1. Differentiable.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to
    structural similarity", 2004: Gaussian windows of 11 pixels and σ = 1.5, each colour for
    itself, where the window lies inside the image.

    Args:
        image, target: (B, C, H, W) in [0, 1], H and W at least 11.

    Returns:
        (B,).
    """
    # Variances are small differences of large numbers: half precision has none left of them.
    with torch.autocast(image.device.type, enabled=False):
        full = torch.promote_types(image.dtype, torch.float32)
        return _ssim(image.to(full), target.to(full))


def _ssim(image: Tensor, target: Tensor) -> Tensor:
    offsets = torch.arange(-5, 6, device=image.device, dtype=image.dtype)
    window = torch.softmax(-(offsets / 1.5).square() / 2, 0)

    def local_mean(x: Tensor) -> Tensor:
        x = F.conv2d(x.flatten(0, 1).unsqueeze(1), window.view(1, 1, 1, -1))
        return F.conv2d(x, window.view(1, 1, -1, 1)).unflatten(0, image.shape[:2]).squeeze(2)

    mean_a, mean_b = local_mean(image), local_mean(target)
    variance_a = local_mean(image.square()) - mean_a.square()
    variance_b = local_mean(target.square()) - mean_b.square()
    covariance = local_mean(image * target) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + 0.01**2) / (mean_a.square() + mean_b.square() + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_a + variance_b + 0.03**2)
    return (likeness * structure).mean((1, 2, 3))


def sharpness(image: Tensor, target: Tensor, where: Tensor) -> Tensor:
    """Mean gradient magnitude of each image over that of its target: below 1 is blurred.

    Args and returns as :func:`psnr`. Gradients are those of the brightness, between neighbouring
    pixels that both count.
    """

    def strength(x: Tensor) -> Tensor:
        grey = x.mean(1, keepdim=True)
        down = (grey[..., 1:, :-1] - grey[..., :-1, :-1]).square()
        right = (grey[..., :-1, 1:] - grey[..., :-1, :-1]).square()
        return ((down + right).sqrt() * inside).sum((1, 2, 3))

    inside = where[..., :-1, :-1] & where[..., 1:, :-1] & where[..., :-1, 1:]
    return strength(image) / strength(target)


def grow(region: Tensor, pixels: int) -> Tensor:
    """Regions (B, 1, S, S) bool, widened by so many pixels on every side."""
    return F.max_pool2d(region.float(), 2 * pixels + 1, stride=1, padding=pixels) > 0
