"""A face-recognition network as CSIM uses it, from a file that the user names.

Deng, Guo, Xue and Zafeiriou, "ArcFace", 2019. The structure is that of insightface's iresnet; its
depth is read off the weights. Any other network comes as TorchScript.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from motion_lab.foreign_weights import fill, is_script, load_script, read_state

SIZE = 112

_WIDTHS = (64, 128, 256, 512)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.downsample is None else self.downsample(x)
        return kept + self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))


class IResNet(nn.Module):
    """Aligned faces (B, 3, 112, 112) in [-1, 1] → (B, 512), not normalised."""

    def __init__(self, depths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        inputs = 64
        for number, (depth, width) in enumerate(zip(depths, _WIDTHS, strict=True), start=1):
            blocks = [
                _Block(inputs if i == 0 else width, width, 1 + (i == 0)) for i in range(depth)
            ]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            inputs = width
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, 512)
        self.features = nn.BatchNorm1d(512)

    def forward(self, face: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(face)))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))


def load(path: str | Path) -> nn.Module | torch.jit.ScriptModule:
    """A network from faces (B, 3, 112, 112) in [-1, 1] to embeddings (B, D).

    Raises:
        UsageError: the file is neither TorchScript nor the state dict of an iresnet.
    """
    path, what = Path(path), "an ArcFace network (TorchScript or an iresnet's state dict)"
    if path.is_file() and is_script(path):
        return load_script(path, what)
    state = read_state(path, what)
    depths = [1, 1, 1, 1]  # so that an empty file is told what it lacks
    for name in state:
        if block := re.match(r"layer([1-4])\.(\d+)\.", name):
            number = int(block[1]) - 1
            depths[number] = max(depths[number], int(block[2]) + 1)
    return fill(IResNet(tuple(depths)), state, path, what)
