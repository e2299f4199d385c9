"""`sync`: how well lips fit a voice, of the kind of SyncNet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock, ConvBlock1d, resize
from motion_lab.components.frontends.log_mel import LogMel
from motion_lab.data.audio import SAMPLES_PER_FRAME
from motion_lab.data.synthetic.renderer import LANDMARK_NAMES
from motion_lab.evaluation.lab.frames import as_floats
from motion_lab.evaluation.lab.landmarks import LandmarkNet, cut, face_scale, turned, upright
from motion_lab.evaluation.lab.weights import load_network

FRAMES = 5
"""Frames of a window, 0.2 s."""
CROP = 32
"""Pixels along a mouth crop."""
CROP_SIDE = 3.2
"""Width of a mouth crop in units of :func:`face_scale`."""
_LOWERED = 0.25  # of that unit: crops are centred below the corners, as the chin moves down
_SIZE = 96  # pixels of the frames that crops are cut from
_MELS, _COLUMNS = 40, 20  # of 10 ms
_CORNERS = [LANDMARK_NAMES.index(f"mouth_corner_{side}") for side in ("left", "right")]


class SyncNet(nn.Module):
    """Lips of 5 frames and the 0.2 s of sound below them, as unit vectors that agree if they belong
    together (Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016; here trained
    by contrast within a batch, van den Oord, Li and Vinyals, "Representation learning with
    contrastive predictive coding", 2018).
    """

    def __init__(self, width: int = 24, embedding: int = 64) -> None:
        super().__init__()
        w = width
        self.embedding = embedding
        self.frontend = LogMel(mels=_MELS, margin=(_COLUMNS - 4) // 2)
        self.lips = nn.Sequential(
            ConvBlock(3 * FRAMES, w),
            ConvBlock(w, 2 * w, 2),
            ConvBlock(2 * w, 3 * w, 2),
            ConvBlock(3 * w, 4 * w, 2),
            nn.Flatten(),
            nn.Linear(4 * w * (CROP // 8) ** 2, embedding),
        )
        self.voice = nn.Sequential(
            ConvBlock1d(_MELS, 3 * w, 1),
            ConvBlock1d(3 * w, 4 * w, 2),
            ConvBlock1d(4 * w, 4 * w, 2),
            nn.Flatten(),
            nn.Linear(4 * w * _COLUMNS // 4, embedding),
        )

    def forward(self, windows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Mouth windows (B, 5, 3, 32, 32) and log-mel columns (B, 20, 40) → unit vectors (B, E)."""
        lips = self.lips(windows.flatten(1, 2) - 0.5)
        return F.normalize(lips, dim=1), F.normalize(self.voice(columns.mT), dim=1)

    def columns(self, wave: Tensor) -> Tensor:
        """Wave (B, T) at 16 kHz → (B, N - 4, 20, 40): the sound below each window of a clip of
        N = ceil(T / 640) frames.
        """
        features = self.frontend(wave).unflatten(2, (_COLUMNS, _MELS))
        return features[:, FRAMES // 2 : features.shape[1] - FRAMES // 2]

    @torch.no_grad()
    def embed(
        self, frames: Tensor, wave: Tensor, landmarks: LandmarkNet, batch: int = 128
    ) -> tuple[Tensor, Tensor]:
        """Lips and voice of a clip.

        Args:
            frames: (F, 3, S, S) uint8, or floats in [0, 1], at 25 a second; F at least 5.
            wave: (T,) at 16 kHz; what lacks to F frames counts as silence.
            landmarks: finds the mouth.

        Returns:
            (F - 4, E) each; row i is of frames i to i + 4.
        """
        if len(frames) < FRAMES:
            raise ValueError(f"a clip needs at least {FRAMES} frames, got {len(frames)}")
        device = next(self.parameters()).device
        crops = mouth_crops(frames.to(device), landmarks.track(frames).points.to(device))
        samples = SAMPLES_PER_FRAME * len(frames)
        wave = F.pad(wave[:samples], (0, samples - min(samples, len(wave))))
        columns = self.columns(wave[None].to(device))[0]
        both = zip(windows(crops).split(batch), columns.split(batch), strict=True)
        pairs = [self(*some) for some in both]
        return torch.cat([lips for lips, _ in pairs]), torch.cat([voice for _, voice in pairs])


def load(device: torch.device | str = "cpu") -> SyncNet:
    """The shipped network, in evaluation mode without gradients."""
    network: SyncNet = load_network("sync", device)
    return network


def windows(crops: Tensor) -> Tensor:
    """Crops of a clip (F, 3, h, w) → every five in a row, (F - 4, 5, 3, h, w)."""
    return crops.unfold(0, FRAMES, 1).movedim(-1, 1)


def mouth_crops(frames: Tensor, points: Tensor) -> Tensor:
    """The mouth in each frame of a clip, upright, at the same size: (F, 3, 32, 32) in [0, 1].

    The place follows the corners of the mouth, the size the face, both smoothed over five frames,
    so that lips move within the crop and not with it.

    Args:
        frames: (F, 3, S, S) uint8, or floats in [0, 1].
        points: (F, L, 2), landmarks in fractions of the frame.
    """
    return cut(resize(as_floats(frames), (_SIZE, _SIZE)), crop_places(points), CROP)


def crop_places(points: Tensor) -> Tensor:
    """Landmarks of a clip (F, L, 2) → where the crops lie (F, 2, 3), see :func:`upright`."""
    left, right = _smooth(points[:, _CORNERS[0]]), _smooth(points[:, _CORNERS[1]])
    scale = _smooth(face_scale(points)[:, None])
    across = F.normalize(right - left, dim=1)
    centre = (left + right) / 2 + _LOWERED * scale * turned(across)
    return upright(centre, across, CROP_SIDE * scale)


def _smooth(track: Tensor) -> Tensor:
    """Mean over five frames of a track (F, N)."""
    padded = F.pad(track.T[None], (FRAMES // 2, FRAMES // 2), mode="replicate")
    return F.avg_pool1d(padded, FRAMES, 1)[0].T
