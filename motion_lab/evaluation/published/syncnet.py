"""SyncNet v2, which LSE-D and LSE-C are defined with, and the sound that it hears.

Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016; layers and their names
are those of the authors' release (joonson/syncnet_python), which the weights follow.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from motion_lab.foreign_weights import fill, read_state

SIZE = 224
FRAMES = 5
STEPS = 20  # of the MFCC, four to a frame


def _conv2d(inputs: int, outputs: int, kernel: tuple[int, int], padding: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, 1, padding), nn.BatchNorm2d(outputs), nn.ReLU()]


def _conv3d(
    inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int, padding: int
) -> list[nn.Module]:
    conv = nn.Conv3d(inputs, outputs, kernel, (1, stride, stride), (0, padding, padding))
    return [conv, nn.BatchNorm3d(outputs), nn.ReLU()]


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


class SyncNet(nn.Module):
    """Five frames of a face, and the 0.2 seconds of sound that go with them, into one space."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2d(1, 64, (3, 3), 1),
            nn.MaxPool2d(1, 1),
            *_conv2d(64, 192, (3, 3), 1),
            nn.MaxPool2d(3, (1, 2)),
            *_conv2d(192, 384, (3, 3), 1),
            *_conv2d(384, 256, (3, 3), 1),
            *_conv2d(256, 256, (3, 3), 1),
            nn.MaxPool2d(3, 2),
            *_conv2d(256, 512, (5, 4), 0),
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(
            *_conv3d(3, 96, (5, 7, 7), 2, 0),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3d(96, 256, (1, 5, 5), 2, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_conv3d(256, 256, (1, 3, 3), 1, 1),
            *_conv3d(256, 256, (1, 3, 3), 1, 1),
            *_conv3d(256, 256, (1, 3, 3), 1, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3d(256, 512, (1, 6, 6), 1, 0),
        )

    def lips(self, frames: Tensor) -> Tensor:
        """(B, 3, 5, 224, 224) BGR in [0, 255] → (B, 1024)."""
        return self.netfclip(self.netcnnlip(frames).flatten(1))

    def voice(self, mfcc: Tensor) -> Tensor:
        """(B, 1, 13, 20), 13 coefficients of 20 steps → (B, 1024)."""
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))


def load(path: str | Path) -> SyncNet:
    """The network with the published weights; raises UsageError for another file."""
    path, what = Path(path), "SyncNet v2"
    network = SyncNet()
    fill(network, read_state(path, what), path, what)
    return network


def mfcc(wave: Tensor) -> Tensor:
    """Mel-frequency cepstral coefficients as SyncNet was trained on them.

    Those of python_speech_features with its defaults at 16 kHz: pre-emphasis 0.97, windows of
    25 ms without taper every 10 ms, 512-point power spectrum, 26 triangles from 0 to 8 kHz, the
    first 13 numbers of an orthonormal cosine transform of their logarithms, lifter 22, the first
    number replaced by the logarithm of the energy.

    Args:
        wave: (T,) in [-1, 1] at 16 kHz; T at least 400.

    Returns:
        (13, 1 + ceil((T - 400) / 160)).
    """
    samples = (wave.double() * 32768).round().clamp(-32768, 32767)
    samples = torch.cat([samples[:1], samples[1:] - 0.97 * samples[:-1]])
    steps = 1 + math.ceil(max(len(samples) - 400, 0) / 160)
    samples = nn.functional.pad(samples, (0, (steps - 1) * 160 + 400 - len(samples)))
    power = torch.fft.rfft(samples.unfold(0, 400, 160), 512).abs().square() / 512
    tiny = torch.finfo(torch.float64).eps
    energy = power.sum(1).clamp(min=tiny).log()
    logs = (power @ _triangles().T).clamp(min=tiny).log()
    number, band = torch.arange(13.0, dtype=torch.float64), torch.arange(26.0, dtype=torch.float64)
    cosines = torch.cos(math.pi * number[:, None] * (band + 0.5) / 26) * math.sqrt(2 / 26)
    lifter = 1 + 11 * torch.sin(math.pi * number / 22)
    coefficients = logs @ cosines.T * lifter  # the first, scaled otherwise, is not kept
    coefficients[:, 0] = energy
    return coefficients.T.float()


def _triangles() -> Tensor:
    """(26, 257): filters whose corners lie at whole numbers of the spectrum."""
    highest = 2595 * math.log10(1 + 8000 / 700)
    mels = torch.linspace(0, highest, 28, dtype=torch.float64)
    corners = (513 * (700 * (10 ** (mels / 2595) - 1)) / 16_000).floor()
    low, top, high = (corners[i : i + 26, None] for i in range(3))
    bins = torch.arange(257, dtype=torch.float64)
    rising, falling = (bins - low) / (top - low), (high - bins) / (high - top)
    # A corner belongs to the side on which it starts: `top` to the falling one.
    return torch.where(bins < top, rising, falling).clamp(min=0) * ((low <= bins) & (bins < high))
