"""Mamba-l: what a frame's neighbourhood says about it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from motion_lab.components.extractors._mamba import MambaMixer


class MambaL(nn.Module):
    """Audio features (B, N, features) → context (B, N, width) from `window` frames on either side.

    Every frame gets two short scans: forwards over the `window` frames that end at it, backwards
    over those that start at it. State never leaves the window, so that a frame's context is the
    same in a stream that looks ahead by `window` frames as in the whole track. Beyond the track's
    ends the windows hold zeros. This is the local extractor of arXiv 2606.03402, figure 3.
    """

    def __init__(
        self,
        features: int = 320,
        width: int = 128,
        window: int = 4,
        state: int = 8,
        expand: int = 1,
    ) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"window must be at least one frame, got {window}")
        self.window = window
        self.context = width
        self.embed = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.LayerNorm(width))
        self.forth = MambaMixer(width, state=state, expand=expand)
        self.back = MambaMixer(width, state=state, expand=expand, reverse=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        x = self.embed(features)
        before = self._windows(F.pad(x, (0, 0, self.window, 0)))
        after = self._windows(F.pad(x, (0, 0, 0, self.window)))
        near = self.forth(before)[:, -1] + self.back(after)[:, 0]
        return self.norm(x + near.unflatten(0, x.shape[:2]))

    def _windows(self, x: Tensor) -> Tensor:
        """(B, N + window, width) → (B · N, window + 1, width), each starting a frame later."""
        return x.unfold(1, self.window + 1, 1).transpose(2, 3).flatten(0, 1)
