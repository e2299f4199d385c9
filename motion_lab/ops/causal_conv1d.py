"""The depthwise causal convolution that precedes the scan in a Mamba block (arXiv 2312.00752)."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from motion_lab.ops import _native
from motion_lab.ops._autograd import distinct
from motion_lab.ops._backends import Backend, register, select
from motion_lab.ops._checks import check_dims, check_shape, check_tensor
from motion_lab.ops.reference import causal_conv1d as reference

_OP = "causal_conv1d"
# kMostTaps of csrc/causal_conv1d/contract.h.
_MOST_TAPS = 32


@overload
def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Literal["silu"] | None = None,
    initial_state: Tensor | None = None,
    return_last_state: Literal[False] = False,
    reverse: bool = False,
    backend: str | None = None,
) -> Tensor: ...


@overload
def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Literal["silu"] | None = None,
    initial_state: Tensor | None = None,
    return_last_state: Literal[True],
    reverse: bool = False,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]: ...


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Literal["silu"] | None = None,
    initial_state: Tensor | None = None,
    return_last_state: bool = False,
    reverse: bool = False,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Convolves each channel with taps of its own, looking back in time alone.

    With x_s of the initial state for s < 0::

        y_t = act(bias + Σ_k weight_k x_{t - width + 1 + k})

    Args:
        x: (batch, dim, length), float32, bfloat16, float16 or float64, of any strides: signals
            (batch, length, dim) are given as ``signals.transpose(1, 2)`` and read as they lie.
        weight: (dim, width), any width; the last tap is the one at t.
        bias: (dim,).
        activation: "silu", or none.
        initial_state: (batch, dim, width - 1), the inputs before the first, in the order of time;
            zeros if absent.
        return_last_state: also return the last ``width - 1`` inputs, the initial state of what
            follows.
        reverse: look ahead in time: what the flipped signal gives, flipped. The initial state then
            lies after the last input, and the last state is what the signal begins with, both in
            the order of time as before.
        backend: one of ``backends("causal_conv1d")``.

    Returns:
        y (batch, dim, length) of x's dtype, computed in float32, or float64 where x is; with
        ``return_last_state`` also the last state, of x's dtype. Every tensor among the arguments
        is differentiable, once.

    Raises:
        TypeError, ValueError: an argument of a wrong type, shape or device; the message names it.
    """
    check_tensor(_OP, "x", x)
    check_dims(_OP, "x", x, "batch, dim, length")
    batch, dim = x.shape[:2]
    check_tensor(_OP, "weight", weight, device=x.device)
    check_dims(_OP, "weight", weight, "dim, width")
    width = weight.shape[1]
    check_shape(_OP, "weight", weight, dim=dim, width=width)
    if width == 0:
        raise ValueError(f"{_OP}: weight must have at least one tap, got {tuple(weight.shape)}")
    if bias is not None:
        check_tensor(_OP, "bias", bias, device=x.device)
        check_shape(_OP, "bias", bias, dim=dim)
    if activation not in (None, "silu"):
        raise ValueError(f"{_OP}: activation must be 'silu' or None, got {activation!r}")
    if initial_state is not None:
        check_tensor(_OP, "initial_state", initial_state, device=x.device)
        sizes = {"batch": batch, "dim": dim, "width - 1": width - 1}
        check_shape(_OP, "initial_state", initial_state, **sizes)
        initial_state = initial_state.to(x.dtype)

    compute = reference.compute_dtype(x)
    entry = select(_OP, x.device.type, backend)
    # Nothing to compute, or an empty tensor, which has no address.
    if x.numel() == 0 or (initial_state is not None and width == 1):
        entry = select(_OP, x.device.type, "reference")
    out = entry.call(
        x,
        weight.to(compute),
        None if bias is None else bias.to(compute),
        initial_state,
        activation == "silu",
        reverse,
    )
    if not return_last_state:
        return out
    return out, _last_state(x, initial_state, width, reverse)


def _last_state(x: Tensor, initial_state: Tensor | None, width: int, reverse: bool) -> Tensor:
    kept = width - 1
    # Of x no more than is kept is looked at, and of the initial state what x is too short for.
    inputs = x[:, :, :kept] if reverse else x[:, :, max(x.shape[2] - kept, 0) :]
    signal = reference.continued(inputs, initial_state, width, reverse)
    return signal.narrow(2, 0 if reverse else signal.shape[2] - kept, kept).clone()


def _forward(kernels: _native.Kernels, *arguments: Any) -> Tensor:
    *inputs, silu, reverse = arguments
    out = torch.empty_like(inputs[0])
    module, place = kernels(out)
    module.causal_conv1d_forward(
        [_native.pack(t) for t in inputs], _native.pack(out), silu, reverse, *place
    )
    return out


def _backward_cpu(*arguments: Any) -> list[Tensor]:
    *inputs, silu, reverse, grad_out = arguments
    gradients = [None if t is None else torch.empty_like(t) for t in inputs]
    module, place = _native.cpu_kernels(grad_out)
    module.causal_conv1d_backward(
        [_native.pack(t) for t in inputs],
        [_native.pack(t) for t in (grad_out, *gradients)],
        silu,
        reverse,
        *place,
    )
    return [gradient for gradient in gradients if gradient is not None]


def _backward_gpu(*arguments: Any) -> list[Tensor]:
    *inputs, silu, reverse, grad_out = arguments
    x, weight, bias, initial_state = inputs
    batch, dim, length = x.shape
    width = weight.shape[1]
    module, place = _native.gpu_kernels(x)
    to_x, to_state = (None if t is None else torch.empty_like(t) for t in (x, initial_state))
    # A part for each block that contributes, added up below: the same sum at every run.
    parts = batch * -(-(length + width - 1) // module.causal_conv1d_steps)
    partials = weight.new_empty(parts, width + 1, dim)
    module.causal_conv1d_backward(
        [_native.pack(t) for t in inputs],
        [_native.pack(t) for t in (grad_out, to_x, to_state)],
        _native.pack(partials),
        silu,
        reverse,
        *place,
    )
    total = partials.sum(0)
    to_weight = torch.empty_like(weight).copy_(total[:width].t())
    to_bias = None if bias is None else torch.empty_like(bias).copy_(total[width])
    return [t for t in (to_x, to_weight, to_bias, to_state) if t is not None]


def _forward_fake(*arguments: Any) -> Tensor:
    return torch.empty_like(arguments[0])


def _backward_fake(*arguments: Any) -> list[Tensor]:
    *inputs, _, _, _ = arguments
    return [torch.empty_like(t) for t in inputs if t is not None]


_INPUTS = "Tensor x, Tensor weight, Tensor? bias, Tensor? initial_state, bool silu, bool reverse"
_native.define(
    f"causal_conv1d_forward({_INPUTS}) -> Tensor",
    cpu=partial(_forward, _native.cpu_kernels),
    gpu=partial(_forward, _native.gpu_kernels),
    fake=_forward_fake,
)
_native.define(
    f"causal_conv1d_backward({_INPUTS}, Tensor grad_out) -> Tensor[]",
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    fake=_backward_fake,
)


class _Convolution(torch.autograd.Function):
    """The convolution by the ops of a library: `motion_lab` or `motion_lab_simt`."""

    @staticmethod
    def forward(ctx: Any, library: str, *arguments: Any) -> Tensor:
        *inputs, silu, reverse = arguments
        ctx.save_for_backward(*inputs)
        ctx.options = (silu, reverse)
        ctx.library = library
        return getattr(torch.ops, library).causal_conv1d_forward(*arguments)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        found = getattr(torch.ops, ctx.library).causal_conv1d_backward(
            *inputs, *ctx.options, *grads
        )
        given = iter(found)
        return (None, *(None if t is None else next(given) for t in inputs), None, None)


def _convolution(library: str, *arguments: Any) -> Tensor:
    *inputs, _, _ = arguments
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
        return _Convolution.apply(library, *distinct(*arguments))
    return getattr(torch.ops, library).causal_conv1d_forward(*arguments)


def _native_call(*arguments: Any) -> Tensor:
    x, weight = arguments[:2]
    # The CUDA kernels compute in float32 alone, and their shared memory holds so many taps.
    if x.is_cuda and (x.dtype == torch.float64 or weight.shape[1] > _MOST_TAPS):
        return reference.causal_conv1d(*arguments)
    return _convolution("motion_lab", *arguments)


def _torch_call(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    silu: bool,
    reverse: bool,
) -> Tensor:
    """`F.conv1d`, which wants parameters of x's type."""
    signal = reference.continued(x, initial_state, weight.shape[1], reverse)
    taps = (weight.flip(1) if reverse else weight)[:, None].to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    out = F.conv1d(signal, taps, bias, groups=x.shape[1])
    return F.silu(out) if silu else out


def _peer_call(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    silu: bool,
    reverse: bool,
) -> Tensor:
    """The package causal-conv1d, which knows no reverse, and states in one layout alone."""
    from causal_conv1d import causal_conv1d_fn

    if reverse:
        x = x.flip(2)
        initial_state = None if initial_state is None else initial_state.flip(2)
    length = x.shape[2]
    if initial_state is not None:
        x = torch.cat([initial_state, x], dim=2)
    out = causal_conv1d_fn(x, weight, bias, activation="silu" if silu else None)
    out = out[:, :, out.shape[2] - length :]
    return out.flip(2) if reverse else out


def _peer_problem(device: str) -> str | None:
    try:
        import causal_conv1d  # noqa: F401
    except Exception as error:  # a package with a broken binary may raise anything
        return f"the package causal-conv1d does not import: {error}"
    return None


register(
    _OP,
    "native",
    Backend(
        _native_call,
        ("cpu", "cuda"),
        _native.problem,
        notes={"cuda": f"float64, and more than {_MOST_TAPS} taps, by the reference"},
    ),
)
register(_OP, "torch", Backend(_torch_call, ("cpu", "cuda")))
register(_OP, "reference", Backend(reference.causal_conv1d, ("cpu", "cuda")))
_native.register_simt(_OP, partial(_convolution, "motion_lab_simt"))
register(_OP, "causal_conv1d", Backend(_peer_call, ("cuda",), _peer_problem, automatic=False))
