"""The selective state-space scan of Mamba (arXiv 2312.00752), forward, backward and by steps."""

from __future__ import annotations

from functools import partial
from typing import Literal, overload

import torch
from torch import Tensor

from motion_lab.ops import _native, _native_selective_scan
from motion_lab.ops._backends import Backend, register, select
from motion_lab.ops._checks import check_dims, check_shape, check_tensor
from motion_lab.ops.reference import selective_scan as reference


@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
    return_last_state: Literal[False] = False,
    reverse: bool = False,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> Tensor: ...


@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
    return_last_state: Literal[True],
    reverse: bool = False,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]: ...


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
    return_last_state: bool = False,
    reverse: bool = False,
    cu_seqlens: Tensor | None = None,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Runs a linear recurrence whose coefficients depend on the input, over time.

    With d = delta + delta_bias, through softplus if asked, and h the state of each channel::

        h_t = exp(d_t A) h_{t-1} + d_t B_t u_t
        y_t = (C_t · h_t + D u_t) · silu(z_t)          (the gate only where z is given)

    Args:
        u, delta, z: (batch, dim, length), float32, bfloat16, float16 or float64.
        A: (dim, state), real; negative for a state that fades.
        B, C: (dim, state), constant; (batch, state, length); or (batch, groups, state, length),
            where ``dim / groups`` consecutive channels share a group.
        D, delta_bias: (dim,).
        delta_softplus: take softplus of delta + delta_bias.
        initial_state: (batch, dim, state), the state before the first step; zeros if absent.
        return_last_state: also return the state after the last step.
        reverse: run from the end to the start. The initial state then enters at the end, and the
            last state is the one left after t = 0.
        cu_seqlens: (sequences + 1,) int32, rising from 0 to length: where sequences packed one
            after another into the single row of a batch of 1 start and end. States are then
            (sequences, dim, state), and nothing passes from one sequence to the next.
        backend: one of ``backends("selective_scan")``.

    Returns:
        y (batch, dim, length) of u's dtype; with ``return_last_state`` also the last state, in
        float32, or float64 where u is. That is the type of the computation whatever the inputs are.
        Every floating-point argument is differentiable, once.

    Raises:
        TypeError, ValueError: an argument of a wrong type, shape or device; the message names it.
    """
    op = "selective_scan"
    check_tensor(op, "u", u)
    check_dims(op, "u", u, "batch, dim, length")
    batch, dim, length = u.shape
    _check_parameters(op, u, A, D, delta_bias)
    states = A.shape[1]
    for name, tensor in (("delta", delta), ("z", z)):
        if tensor is not None:
            check_tensor(op, name, tensor, device=u.device)
            check_shape(op, name, tensor, batch=batch, dim=dim, length=length)
    groups = 0
    for name, tensor in (("B", B), ("C", C)):
        check_tensor(op, name, tensor, device=u.device)
        layouts = ("dim, state", "batch, state, length", "batch, groups, state, length")
        check_dims(op, name, tensor, *layouts)
        if tensor.dim() == 2:
            check_shape(op, name, tensor, dim=dim, state=states)
        elif tensor.dim() == 3:
            check_shape(op, name, tensor, batch=batch, state=states, length=length)
            if groups > 1:
                raise ValueError(
                    f"{op}: C must have shape (batch, groups, state, length) with as many groups as"
                    f" B, {groups}, got {tuple(tensor.shape)}"
                )
            groups = 1
        else:
            groups = groups or tensor.shape[1]
            _check_groups(op, dim, groups)
            sizes = {"batch": batch, "groups": groups, "state": states, "length": length}
            check_shape(op, name, tensor, **sizes)
    sequences = batch
    if cu_seqlens is not None:
        check_tensor(op, "cu_seqlens", cu_seqlens, dtypes=(torch.int32,), device=u.device)
        check_dims(op, "cu_seqlens", cu_seqlens, "sequences + 1")
        sequences = cu_seqlens.shape[0] - 1
        if batch != 1 or sequences < 0:
            raise ValueError(
                f"{op}: cu_seqlens must have at least one element and u a batch of 1,"
                f" got {cu_seqlens.shape[0]} elements and a batch of {batch}"
            )
    if initial_state is not None:
        check_tensor(op, "initial_state", initial_state, device=u.device)
        check_shape(op, "initial_state", initial_state, sequences=sequences, dim=dim, state=states)

    compute = reference.compute_dtype(u)
    entry = select(op, u.device.type, backend)
    if u.numel() == 0 or states == 0:  # nothing to compute, and an empty tensor has no address
        entry = select(op, u.device.type, "reference")
    out, last_state = entry.call(
        u,
        _no_wider(delta, compute),
        A.to(compute),
        _coefficient(B, compute),
        _coefficient(C, compute),
        None if D is None else D.to(compute),
        None if z is None else _no_wider(z, compute),
        None if delta_bias is None else delta_bias.to(compute),
        None if initial_state is None else initial_state.to(compute),
        cu_seqlens,
        delta_softplus,
        reverse,
    )
    return (out, last_state) if return_last_state else out


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
    *,
    delta_softplus: bool = False,
    backend: str | None = None,
) -> Tensor:
    """One time step of :func:`selective_scan`, for streaming. No autograd.

    ``state`` (batch, dim, state), float32 or float64 when u is, is updated in place. u, delta and z
    are (batch, dim), B and C (batch, state) or (batch, groups, state); the rest is as there.
    Returns y (batch, dim) of u's dtype, equal to the scan's output at that step.
    """
    op = "selective_scan_step"
    check_tensor(op, "u", u)
    check_dims(op, "u", u, "batch, dim")
    batch, dim = u.shape
    _check_parameters(op, u, A, D, delta_bias)
    states = A.shape[1]
    compute = reference.compute_dtype(u)
    check_tensor(op, "state", state, dtypes=(compute,), device=u.device)
    check_shape(op, "state", state, batch=batch, dim=dim, state=states)
    for name, tensor in (("delta", delta), ("z", z)):
        if tensor is not None:
            check_tensor(op, name, tensor, device=u.device)
            check_shape(op, name, tensor, batch=batch, dim=dim)
    for name, tensor in (("B", B), ("C", C)):
        check_tensor(op, name, tensor, device=u.device)
        check_dims(op, name, tensor, "batch, state", "batch, groups, state")
    B, C = (M if M.dim() == 3 else M[:, None] for M in (B, C))
    groups = B.shape[1]
    for name, tensor in (("B", B), ("C", C)):
        check_shape(op, name, tensor, batch=batch, groups=groups, state=states)
    _check_groups(op, dim, groups)

    entry = select(op, u.device.type, backend)
    if u.numel() == 0 or states == 0:
        entry = select(op, u.device.type, "reference")
    with torch.no_grad():
        inputs = (t if t is None else t.to(compute) for t in (u, delta, A, B, C, D, z, delta_bias))
        return entry.call(state, *inputs, delta_softplus).to(u.dtype)


def _check_parameters(
    op: str, u: Tensor, A: Tensor, D: Tensor | None, delta_bias: Tensor | None
) -> None:
    dim = u.shape[1]
    check_tensor(op, "A", A, device=u.device)
    check_dims(op, "A", A, "dim, state")
    check_shape(op, "A", A, dim=dim, state=A.shape[1])
    for name, tensor in (("D", D), ("delta_bias", delta_bias)):
        if tensor is not None:
            check_tensor(op, name, tensor, device=u.device)
            check_shape(op, name, tensor, dim=dim)


def _check_groups(op: str, dim: int, groups: int) -> None:
    if groups == 0 or dim % groups:
        raise ValueError(
            f"{op}: dim must be a multiple of the groups of B and C, got {dim} and {groups}"
        )


def _no_wider(tensor: Tensor, compute: torch.dtype) -> Tensor:
    """Float32 computations take 16-bit inputs as they are; else types must be the same."""
    if compute == torch.float64 or tensor.dtype == torch.float64:
        return tensor.to(compute)
    return tensor


def _coefficient(M: Tensor, compute: torch.dtype) -> Tensor:
    """B or C as kernels take them: (dim, state), or (batch, groups, state, length)."""
    if M.dim() == 2:
        return M.to(compute)
    M = _no_wider(M, compute)
    return M[:, None] if M.dim() == 3 else M


register(
    "selective_scan",
    "native",
    Backend(
        _native_selective_scan.native_scan,
        ("cpu", "cuda"),
        _native.problem,
        notes={"cuda": "float64 by the reference"},
    ),
)
register("selective_scan", "reference", Backend(reference.selective_scan, ("cpu", "cuda")))
_native.register_simt("selective_scan", partial(_native_selective_scan.scan, "motion_lab_simt"))
register(
    "selective_scan_step",
    "native",
    Backend(
        _native_selective_scan.native_step,
        ("cpu", "cuda"),
        _native.problem,
        notes={"cuda": "float64 by the reference"},
    ),
)
register(
    "selective_scan_step",
    "reference",
    Backend(reference.selective_scan_step, ("cpu", "cuda")),
)
_native.register_simt("selective_scan_step", torch.ops.motion_lab_simt.selective_scan_step)
