"""LPIPS: distances between the features of a classifier, weighted to agree with people.

Zhang, Isola, Efros, Shechtman and Wang, "The unreasonable effectiveness of deep features as a
perceptual metric", 2018, version 0.1.
"""

from __future__ import annotations

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from motion_lab.components.perceptual.vgg import vgg_layers
from motion_lab.errors import UsageError
from motion_lab.foreign_weights import fill, read_state

Net = Literal["alex", "vgg"]

# What torchvision calls `features`, up to the last map that counts, and where the maps are taken.
_VGG = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
_TAPS: dict[str, tuple[int, ...]] = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
_CHANNELS: dict[str, tuple[int, ...]] = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
}


def _alex() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU()),
    )


class Lpips(nn.Module):
    """Distances (B,) of images (B, 3, H, W) in [0, 1]."""

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Net = "alex") -> None:
        super().__init__()
        self.features = _alex() if net == "alex" else vgg_layers(_VGG)
        self.heads = nn.ParameterList(
            nn.Parameter(torch.zeros(1, channels, 1, 1)) for channels in _CHANNELS[net]
        )
        self._taps = _TAPS[net]
        # ImageNet's mean and deviation, for images in [-1, 1], as published.
        for name, values in (("shift", (-0.030, -0.088, -0.188)), ("scale", (0.458, 0.448, 0.450))):
            buffer = torch.tensor(values).reshape(1, 3, 1, 1)
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        a, b = (((2 * x - 1) - self.shift) / self.scale for x in (image, target))
        distance = torch.zeros(len(image), device=image.device)
        bounds = pairwise((0, *(tap + 1 for tap in self._taps)))
        for (start, end), head in zip(bounds, self.heads, strict=True):
            a, b = self.features[start:end](a), self.features[start:end](b)
            distance = distance + (head * (_unit(a) - _unit(b)).square()).sum(1).mean((1, 2))
        return distance


def _unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt()


def load(path: Path, net: Net, heads: Path) -> Lpips:
    """The network, from torchvision's weights of AlexNet or VGG-16.

    Args:
        path: ``alexnet-owt-7be5be79.pth`` or ``vgg16-397923af.pth``.
        net: which of the two it is.
        heads: the five weightings of version 0.1, ``alex.pth`` or ``vgg.pth``.

    Raises:
        UsageError: a file is missing or another.
    """
    if net not in _TAPS:
        raise UsageError(f"LPIPS has the networks {' and '.join(_TAPS)}, not {net!r}.")
    state = read_state(path, f"LPIPS' {net} network")
    weights = read_state(heads, f"LPIPS' heads for {net}")
    # lin0.model.1.weight, or lin0.model.0.weight where a file was saved without dropout.
    for index in range(len(_TAPS[net])):
        names = [f"lin{index}.model.{place}.weight" for place in (1, 0)]
        found = [weights[name] for name in names if name in weights]
        if not found:
            raise UsageError(
                f"{heads} holds no heads of LPIPS for {net}: it lacks {names[0]}. "
                f"Name {net}.pth of version 0.1."
            )
        state[f"heads.{index}"] = found[0]
    network = Lpips(net)
    fill(network, state, path, f"torchvision's {net} (with heads from {heads.name})")
    return network


def bundled_heads(net: Net) -> Path:
    """The heads that come with torchmetrics; raises UsageError where that is not installed."""
    package = find_spec("torchmetrics")
    if package is None or package.origin is None:
        raise UsageError(
            "LPIPS needs its heads: pip install torchmetrics, which brings them, or name a file."
        )
    return Path(package.origin).parent / "functional" / "image" / "lpips_models" / f"{net}.pth"
