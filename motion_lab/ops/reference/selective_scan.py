"""The selective state-space scan of Mamba (arXiv 2312.00752, section 3), step by step.

Takes the arguments of :mod:`motion_lab.ops.selective_scan` after their checks.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor


def compute_dtype(u: Tensor) -> torch.dtype:
    """The type that a scan over ``u`` is computed in, and that of its states."""
    return torch.float64 if u.dtype == torch.float64 else torch.float32


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    delta_softplus: bool = False,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """``(out (batch, dim, length), last_state (batch or sequences, dim, state))``."""
    dtype = compute_dtype(u)
    batch, dim, length = u.shape
    x, d = u.to(dtype), delta.to(dtype)
    if delta_bias is not None:
        d = d + delta_bias.to(dtype)[:, None]
    if delta_softplus:
        d = F.softplus(d)
    B, C = (_by_group(M.to(dtype), batch, length) for M in (B, C))
    if initial_state is None:
        sequences = batch if cu_seqlens is None else len(cu_seqlens) - 1
        initial_state = x.new_zeros(sequences, dim, A.shape[1])
    state = initial_state.to(dtype, copy=True)  # with no steps it is the last state

    if cu_seqlens is None:
        y, last_state = _scan(x, d, A.to(dtype), B, C, state, reverse)
    else:
        bounds = cu_seqlens.tolist()
        if bounds != sorted(bounds) or bounds[0] != 0 or bounds[-1] != length:
            raise ValueError("selective_scan: cu_seqlens must rise from 0 to length")
        pieces = []
        for i, (start, end) in enumerate(itertools.pairwise(bounds)):
            x_i, d_i, B_i, C_i = (M[..., start:end] for M in (x, d, B, C))
            pieces.append(_scan(x_i, d_i, A.to(dtype), B_i, C_i, state[i : i + 1], reverse))
        y = torch.cat([piece[0] for piece in pieces], dim=-1)
        last_state = torch.cat([piece[1] for piece in pieces])
    if D is not None:
        y = y + D.to(dtype)[:, None] * x
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(u.dtype), last_state


def selective_scan_step(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
) -> Tensor:
    """One step, updating ``state`` (batch, dim, state) in place; B and C (batch, groups, state)."""
    out, after = selective_scan(
        u[..., None],
        delta[..., None],
        A,
        B[..., None],
        C[..., None],
        D,
        None if z is None else z[..., None],
        delta_bias,
        state,
        delta_softplus=delta_softplus,
    )
    state.copy_(after)
    return out[..., 0]


def _by_group(M: Tensor, batch: int, length: int) -> Tensor:
    """B or C in any of its forms as (batch, groups, state, length)."""
    if M.dim() == 2:  # constant over batch and time, one group a channel
        return M[None, :, :, None].expand(batch, -1, -1, length)
    return M if M.dim() == 4 else M[:, None]


def _scan(
    x: Tensor, d: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, reverse: bool
) -> tuple[Tensor, Tensor]:
    # unbind: indexing [..., t] would make the backward quadratic in length.
    steps = list(zip(x.unbind(-1), d.unbind(-1), B.unbind(-1), C.unbind(-1), strict=True))
    dim = x.shape[1]
    outputs = []
    for x_t, d_t, B_t, C_t in reversed(steps) if reverse else steps:
        inflow = (d_t * x_t)[..., None] * _of_channels(B_t, dim)
        state = torch.exp(d_t[..., None] * A) * state + inflow
        outputs.append((state * _of_channels(C_t, dim)).sum(-1))
    if reverse:
        outputs.reverse()
    return torch.stack(outputs, dim=-1) if outputs else torch.zeros_like(x), state


def _of_channels(M: Tensor, dim: int) -> Tensor:
    """(batch, groups, state) -> (batch, dim, state)."""
    return M if M.shape[1] == dim else M.repeat_interleave(dim // M.shape[1], dim=1)
