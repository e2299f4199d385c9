"""Mamba-g: what the whole track says about each frame."""

from __future__ import annotations

from torch import Tensor, nn

from motion_lab.components.mamba import MambaMixer, MixerState


class MambaG(nn.Module):
    """Audio features (B, N, features) → context (B, N, width), each frame aware of all others.

    `layers` residual blocks, each with a Mamba mixer in either direction and weights of their own
    (the bidirectional arrangement of Zhu et al., "Vision Mamba", arXiv 2401.09417). This is the
    global extractor of arXiv 2606.03402, figure 3; its cost is linear in N.
    """

    window: int | None = None

    def __init__(
        self,
        features: int = 320,
        width: int = 128,
        layers: int = 2,
        state: int = 16,
        expand: int = 2,
    ) -> None:
        super().__init__()
        self.context = width
        self.embed = nn.Linear(features, width)
        self.blocks = nn.ModuleList(_Both(width, state, expand) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        x = self.embed(features)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def advance(
        self, features: Tensor, keep: int, states: list[MixerState] | None
    ) -> tuple[Tensor, list[MixerState]]:
        """Go on with a stream: features (B, n, features) → context (B, n, width) and the states.

        The states are those after ``keep`` frames. The rest is looked ahead to and comes again in
        the next call: a block's backward mixer starts at its end, its forward mixer remembers.
        """
        x = self.embed(features)
        after: list[MixerState] = []
        for index, block in enumerate(self.blocks):
            x, state = block.advance(x, keep, states[index] if states else None)  # type: ignore[operator]
            after.append(state)
        return self.norm(x), after


class _Both(nn.Module):
    def __init__(self, width: int, state: int, expand: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.forth = MambaMixer(width, state=state, expand=expand)
        self.back = MambaMixer(width, state=state, expand=expand, reverse=True)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        return x + self.forth(normed) + self.back(normed)

    def advance(self, x: Tensor, keep: int, state: MixerState | None) -> tuple[Tensor, MixerState]:
        normed = self.norm(x)
        forth, state = self.forth.advance(normed, keep, state)
        return x + forth + self.back(normed), state
