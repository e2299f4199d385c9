"""The selective state-space scan of Mamba (arXiv 2312.00752), forward, backward and by steps."""

from __future__ import annotations

import torch
from torch import Tensor

from motion_lab.ops import _native
from motion_lab.ops._backends import Backend, register, select
from motion_lab.ops._checks import check_dims, check_shape, check_tensor
from motion_lab.ops.reference import selective_scan as reference

_LIBRARY = torch.library.Library("motion_lab", "FRAGMENT")


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
    check_tensor(op, "A", A, device=u.device)
    check_dims(op, "A", A, "dim, state")
    states = A.shape[1]
    check_shape(op, "A", A, dim=dim, state=states)
    compute = reference.compute_dtype(u)
    check_tensor(op, "state", state, dtypes=(compute,), device=u.device)
    check_shape(op, "state", state, batch=batch, dim=dim, state=states)
    for name, tensor in (("delta", delta), ("z", z)):
        if tensor is not None:
            check_tensor(op, name, tensor, device=u.device)
            check_shape(op, name, tensor, batch=batch, dim=dim)
    for name, tensor in (("D", D), ("delta_bias", delta_bias)):
        if tensor is not None:
            check_tensor(op, name, tensor, device=u.device)
            check_shape(op, name, tensor, dim=dim)
    for name, tensor in (("B", B), ("C", C)):
        check_tensor(op, name, tensor, device=u.device)
        check_dims(op, name, tensor, "batch, state", "batch, groups, state")
    B, C = (M if M.dim() == 3 else M[:, None] for M in (B, C))
    groups = B.shape[1]
    for name, tensor in (("B", B), ("C", C)):
        check_shape(op, name, tensor, batch=batch, groups=groups, state=states)
    if groups == 0 or dim % groups:
        raise ValueError(f"{op}: dim must be a multiple of B's groups, got {dim} and {groups}")

    with torch.no_grad():
        common = _widest(u, delta, B, C, z)
        arguments = (
            state,
            u.to(common),
            delta.to(common),
            A.to(compute),
            B.to(common),
            C.to(common),
            None if D is None else D.to(compute),
            None if z is None else z.to(common),
            None if delta_bias is None else delta_bias.to(compute),
            delta_softplus,
        )
        return select(op, u.device.type, backend).call(*arguments).to(u.dtype)


def _widest(*tensors: Tensor | None) -> torch.dtype:
    dtypes = [tensor.dtype for tensor in tensors if tensor is not None]
    widest = dtypes[0]
    for dtype in dtypes[1:]:
        widest = torch.promote_types(widest, dtype)
    return widest


_LIBRARY.define(
    "selective_scan_step(Tensor(a!) state, Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C,"
    " Tensor? D, Tensor? z, Tensor? delta_bias, bool delta_softplus) -> Tensor"
)


def _step_cpu(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> Tensor:
    out = torch.empty_like(u, memory_format=torch.contiguous_format)
    tensors = (state, u, delta, A, B, C, D, z, delta_bias, out)
    _native.cpu().selective_scan_step(
        *map(_native.pack, tensors), delta_softplus, torch.get_num_threads()
    )
    return out


_LIBRARY.impl("selective_scan_step", _step_cpu, "CPU")


@torch.library.register_fake("motion_lab::selective_scan_step", lib=_LIBRARY)
def _step_fake(state: Tensor, u: Tensor, *rest: object) -> Tensor:
    return torch.empty_like(u, memory_format=torch.contiguous_format)


register(
    "selective_scan_step",
    "native",
    Backend(torch.ops.motion_lab.selective_scan_step, ("cpu",), _native.problem),
)
register(
    "selective_scan_step",
    "reference",
    Backend(reference.selective_scan_step, ("cpu", "cuda")),
)
