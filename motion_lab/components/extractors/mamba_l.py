"""Mamba-l: what a frame's neighbourhood says about it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from motion_lab.components.mamba import MambaMixer


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
        return self.norm(x + self._near(self.forth, x) + self._near(self.back, x))

    def _near(self, mixer: MambaMixer, x: Tensor) -> Tensor:
        """What the windows on one side say about their frames, (B, N, width) → (B, N, width).

        A frame is projected once, not once for every window that it lies in, and of each window
        only the frame that it is about goes on.
        """
        u, gate = mixer.project_in(x).chunk(2, dim=2)
        before, after = (0, self.window) if mixer.reverse else (self.window, 0)
        u = F.pad(u, (0, 0, before, after))  # as the projection, without bias, of zeros
        windows = u.unfold(1, self.window + 1, 1).transpose(2, 3).flatten(0, 1)
        y = mixer.scan(windows)[:, 0 if mixer.reverse else -1]
        return mixer.project_out(y.unflatten(0, x.shape[:2]) * F.silu(gate))
