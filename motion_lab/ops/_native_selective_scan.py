"""The native backend of `selective_scan` and its step: ops over the kernels, and their autograd.

The same functions serve the CPU's kernels and CUDA's, as csrc/selective_scan/contract.h has them;
only the backward differs, where CUDA leaves sums to be taken here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from motion_lab.ops import _native
from motion_lab.ops._autograd import distinct
from motion_lab.ops.reference import selective_scan as reference

# Time steps between the states that the forward keeps for the backward: kChunk of contract.h.
CHUNK = 32

_INPUTS = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z,"
    " Tensor? delta_bias, Tensor? initial_state, Tensor? cu_seqlens"
)


def _outputs(inputs: tuple[Tensor | None, ...], keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    u, _, A, *_, cu_seqlens = inputs
    assert u is not None
    assert A is not None
    batch, dim, length = u.shape
    if cu_seqlens is None:
        sequences, chunks = batch, batch * ((length + CHUNK - 1) // CHUNK)
    else:
        sequences = cu_seqlens.shape[0] - 1
        chunks = length // CHUNK + sequences
    return (
        torch.empty_like(u),
        A.new_empty(sequences, dim, A.shape[1]),
        A.new_empty(chunks if keep else 0, A.shape[1] * dim),
    )


def _gradients(inputs: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    *differentiable, _ = inputs
    return [None if t is None else torch.empty_like(t) for t in differentiable]


def _forward(kernels: _native.Kernels, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    *inputs, delta_softplus, reverse, keep = arguments
    out, last_state, checkpoints = _outputs(tuple(inputs), keep)
    module, place = kernels(out)
    module.selective_scan_forward(
        [_native.pack(t) for t in inputs],
        [_native.pack(t) for t in (out, last_state, checkpoints if keep else None)],
        delta_softplus,
        reverse,
        *place,
    )
    return out, last_state, checkpoints


def _step(kernels: _native.Kernels, *arguments: Any) -> Tensor:
    *inputs, delta_softplus = arguments
    out = torch.empty_like(inputs[1])
    module, place = kernels(out)
    module.selective_scan_step([_native.pack(t) for t in (*inputs, out)], delta_softplus, *place)
    return out


def _backward_cpu(*arguments: Any) -> list[Tensor]:
    *inputs, delta_softplus, reverse, checkpoints, grad_out, grad_last_state = arguments
    gradients = _gradients(tuple(inputs))
    module, place = _native.cpu_kernels(grad_out)
    module.selective_scan_backward(
        [_native.pack(t) for t in inputs],
        _native.pack(checkpoints),
        [_native.pack(t) for t in (grad_out, grad_last_state, *gradients)],
        delta_softplus,
        reverse,
        *place,
    )
    return [gradient for gradient in gradients if gradient is not None]


def _backward_gpu(*arguments: Any) -> list[Tensor]:
    *inputs, delta_softplus, reverse, checkpoints, grad_out, grad_last_state = arguments
    u, delta, A, B, C, D, z, delta_bias, initial_state, _ = inputs
    batch, dim, length = u.shape
    sequences, states = len(grad_last_state), A.shape[1]

    module, place = _native.gpu_kernels(u)

    def coefficient(M: Tensor) -> Tensor:
        if M.dim() == 2:
            return A.new_empty(sequences, dim, states)
        parts = -(-dim // M.shape[1] // module.selective_scan_channels)
        return A.new_empty(parts, batch, M.shape[1], length, states)

    written = [None if t is None else torch.empty_like(t) for t in (u, delta, z, initial_state)]
    # One for each block that contributes, added up below: the same sum at every run.
    to_A, scratch = A.new_empty(2, sequences, dim, states)
    to_B, to_C = coefficient(B), coefficient(C)
    to_D, to_bias = A.new_empty(2, sequences, dim)
    module.selective_scan_backward(
        [_native.pack(t) for t in inputs],
        _native.pack(checkpoints),
        [_native.pack(t) for t in (grad_out, grad_last_state, *written)],
        [_native.pack(t) for t in (to_A, to_B, to_C, to_D, to_bias, scratch)],
        delta_softplus,
        reverse,
        *place,
    )

    def total(partial: Tensor, like: Tensor | None) -> Tensor | None:
        if like is None:
            return None
        found = partial.sum(0)
        return torch.empty_like(like).copy_(found if like.dim() < 4 else found.transpose(2, 3))

    sums = (total(to_A, A), total(to_B, B), total(to_C, C), total(to_D, D))
    gradients = (*written[:2], *sums, written[2], total(to_bias, delta_bias), written[3])
    return [gradient for gradient in gradients if gradient is not None]


def _forward_fake(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    *inputs, _, _, keep = arguments
    return _outputs(tuple(inputs), keep)


def _backward_fake(*arguments: Any) -> list[Tensor]:
    *inputs, _, _, _, _, _ = arguments
    return [g for g in _gradients(tuple(inputs)) if g is not None]


def _step_fake(*arguments: Any) -> Tensor:
    return torch.empty_like(arguments[1])


_native.define(
    f"selective_scan_forward({_INPUTS}, bool delta_softplus, bool reverse, bool keep)"
    " -> (Tensor out, Tensor last_state, Tensor checkpoints)",
    cpu=partial(_forward, _native.cpu_kernels),
    gpu=partial(_forward, _native.gpu_kernels),
    fake=_forward_fake,
)
_native.define(
    f"selective_scan_backward({_INPUTS}, bool delta_softplus, bool reverse, Tensor checkpoints,"
    " Tensor grad_out, Tensor grad_last_state) -> Tensor[]",
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    fake=_backward_fake,
)
_native.define(
    "selective_scan_step(Tensor(a!) state, Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C,"
    " Tensor? D, Tensor? z, Tensor? delta_bias, bool delta_softplus) -> Tensor",
    cpu=partial(_step, _native.cpu_kernels),
    gpu=partial(_step, _native.gpu_kernels),
    fake=_step_fake,
)


class _Scan(torch.autograd.Function):
    """The scan by the ops of a library: `motion_lab` or `motion_lab_simt`."""

    @staticmethod
    def forward(ctx: Any, library: str, *arguments: Any) -> tuple[Tensor, Tensor]:
        *inputs, delta_softplus, reverse = arguments
        out, last_state, checkpoints = getattr(torch.ops, library).selective_scan_forward(
            *inputs, delta_softplus, reverse, True
        )
        ctx.save_for_backward(*inputs, checkpoints)
        ctx.options = (delta_softplus, reverse)
        ctx.library = library
        return out, last_state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        *inputs, checkpoints = ctx.saved_tensors
        found = getattr(torch.ops, ctx.library).selective_scan_backward(
            *inputs, *ctx.options, checkpoints, *grads
        )
        given = iter(found)
        to_inputs = [None if t is None else next(given) for t in inputs[:-1]]
        return (None, *to_inputs, None, None, None)


def scan(library: str, *arguments: Any) -> tuple[Tensor, Tensor]:
    """The scan by the ops of a library: `motion_lab` or `motion_lab_simt`."""
    *inputs, _, _ = arguments
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
        return _Scan.apply(library, *distinct(*arguments))
    return getattr(torch.ops, library).selective_scan_forward(*arguments, False)[:2]


def native_scan(*arguments: Any) -> tuple[Tensor, Tensor]:
    u = arguments[0]
    # The CUDA kernels compute in float32 alone.
    if u.is_cuda and u.dtype == torch.float64:
        return reference.selective_scan(*arguments)
    return scan("motion_lab", *arguments)


def native_step(*arguments: Any) -> Tensor:
    u = arguments[1]
    if u.is_cuda and u.dtype == torch.float64:
        return reference.selective_scan_step(*arguments)
    return torch.ops.motion_lab.selective_scan_step(*arguments)
