"""The Mamba block of extractors and denoisers."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from motion_lab.ops import causal_conv1d, selective_scan


class MixerState(NamedTuple):
    """What a mixer remembers of a stream."""

    inputs: Tensor  # (B, inner, kernel - 1), the last ones, which the convolution still sees
    memory: Tensor  # (B, inner, state), of the scan


class MambaMixer(nn.Module):
    """One direction of a Mamba block: (B, L, width) → (B, L, width).

    Gu & Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces"
    (arXiv 2312.00752), section 3.4 and figure 3: a gated branch of depthwise causal convolution,
    SiLU and selective scan. Output t depends on inputs up to t, or from t on when `reverse`.
    """

    def __init__(
        self,
        width: int,
        *,
        state: int = 16,
        expand: int = 2,
        kernel: int = 4,
        reverse: bool = False,
    ) -> None:
        super().__init__()
        inner, rank = expand * width, math.ceil(width / 16)
        self.sizes = (rank, state, state)
        self.reverse = reverse
        self.project_in = nn.Linear(width, 2 * inner, bias=False)
        self.conv = nn.Conv1d(inner, inner, kernel, groups=inner)
        self.select = nn.Linear(inner, rank + 2 * state, bias=False)
        self.step = nn.Linear(rank, inner, bias=False)
        # Section 3.6: steps spread over 0.001..0.1 at first, and A = -1..-state (S4D-real).
        steps = torch.exp(torch.empty(inner).uniform_(math.log(1e-3), math.log(1e-1)))
        self.step_bias = nn.Parameter(steps + torch.log(-torch.expm1(-steps)))  # softplus⁻¹
        self.log_decay = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))
        self.project_out = nn.Linear(inner, width, bias=False)
        nn.init.uniform_(self.step.weight, -(rank**-0.5), rank**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.project_in(x).chunk(2, dim=2)
        return self.project_out(self.scan(u, gate))

    def advance(self, x: Tensor, keep: int, state: MixerState | None) -> tuple[Tensor, MixerState]:
        """Go on with a stream: (B, L, width) → (B, L, width), and the state after ``keep`` inputs.

        What follows those is heard in advance, and comes again in the next call.
        """
        u, gate = self.project_in(x).chunk(2, dim=2)
        taps = self.conv.kernel_size[0] - 1
        before = u.new_zeros(len(u), u.shape[2], taps) if state is None else state.inputs
        y, memory = self._scan(u[:, :keep], gate[:, :keep], state)
        state = MixerState(torch.cat([before, u[:, :keep].transpose(1, 2)], 2)[..., keep:], memory)
        if keep < x.shape[1]:
            y = torch.cat([y, self._scan(u[:, keep:], gate[:, keep:], state)[0]], dim=1)
        return self.project_out(y), state

    def scan(self, u: Tensor, gate: Tensor | None = None) -> Tensor:
        """What lies between the projections, (B, L, inner) → (B, L, inner); ungated if no gate."""
        return self._scan(u, gate, None)[0]

    def _scan(
        self, u: Tensor, gate: Tensor | None, state: MixerState | None
    ) -> tuple[Tensor, Tensor]:
        u = causal_conv1d(
            u.transpose(1, 2),
            self.conv.weight.squeeze(1),
            self.conv.bias,
            activation="silu",
            initial_state=None if state is None else state.inputs,
            reverse=self.reverse,
        )
        step, b, c = self.select(u.transpose(1, 2)).split(self.sizes, dim=2)
        y, memory = selective_scan(
            u,
            self.step(step).transpose(1, 2),
            -torch.exp(self.log_decay),
            b.transpose(1, 2),
            c.transpose(1, 2),
            self.skip,
            None if gate is None else gate.transpose(1, 2),
            self.step_bias,
            delta_softplus=True,
            initial_state=None if state is None else state.memory,
            return_last_state=True,
            reverse=self.reverse,
        )
        return y.transpose(1, 2), memory
