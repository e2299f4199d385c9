"""The native backend of `grid_sample` and `warp`: one op, its backward, and their autograd.

Both functions are the op ``motion_lab::grid_sample``, whose arguments csrc/grid_sample/contract.h
explains: ``coordinates`` are positions or, with ``displacement``, added to the identity grid;
``mode`` and ``padding`` index MODES and PADDING_MODES.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from motion_lab.ops import _native
from motion_lab.ops.reference import grid_sample as reference

MODES = ("bilinear", "nearest", "bicubic")
PADDING_MODES = ("zeros", "border", "reflection")


def _empty_output(input: Tensor, coordinates: Tensor, weight: Tensor | None, *_: object) -> Tensor:
    """(N, [K,] C, *out), channels last if the input is that and not contiguous."""
    batch, channels = input.shape[:2]
    out = coordinates.shape[1 - input.ndim : -1]
    fields = coordinates.shape[1:2] if coordinates.ndim > input.ndim and weight is None else ()
    last = torch.channels_last if input.ndim == 4 else torch.channels_last_3d
    if input.is_contiguous(memory_format=last) and not input.is_contiguous():
        return input.new_empty(batch, *fields, *out, channels).movedim(-1, 1 + len(fields))
    return input.new_empty(batch, *fields, channels, *out)


def _empty_gradients(
    input: Tensor,
    coordinates: Tensor,
    weight: Tensor | None,
    mask: Tensor | None,
    wanted: list[bool],
) -> list[Tensor]:
    """One like each tensor; those that are not wanted have no elements."""
    tensors = (input, coordinates, weight, mask)
    return [
        torch.empty_like(x) if x is not None and want else input.new_empty(0)
        for x, want in zip(tensors, wanted, strict=True)
    ]


def _pack(x: Tensor | None, *singletons: int) -> _native.NativeTensor | None:
    """A tensor for the kernel, with dimensions of size 1 inserted in turn."""
    packed = _native.pack(x)
    if packed is None:
        return None
    address, dtype, sizes, strides = packed
    for at in singletons:
        sizes = (*sizes[:at], 1, *sizes[at:])
        strides = (*strides[:at], 0, *strides[at:])
    return address, dtype, sizes, strides


def _pack_operands(
    image: bool, input: Any, coordinates: Any, weight: Any, mask: Any
) -> list[_native.NativeTensor | None]:
    """As csrc/grid_sample/contract.h has them: images are volumes, one field is K = 1 fields."""
    depth = (2,) if image else ()
    fields = (1,) if coordinates is not None and coordinates.ndim == 5 - image else ()
    if mask is not None and not image:
        mask = mask.squeeze(1)
    return [
        _pack(input, *depth),
        _pack(coordinates, *fields, *depth),
        _pack(weight, *depth),
        _pack(mask),
    ]


def _pack_output(image: bool, out: Tensor) -> _native.NativeTensor | None:
    fields = (1,) if out.ndim == 5 - image else ()
    return _pack(out, *fields, *((3,) if image else ()))


def _forward_cpu(
    input: Tensor,
    coordinates: Tensor,
    weight: Tensor | None,
    mask: Tensor | None,
    displacement: bool,
    mode: int,
    padding: int,
    align_corners: bool,
) -> Tensor:
    out = _empty_output(input, coordinates, weight)
    if out.numel():
        image = input.ndim == 4
        _native.cpu().grid_sample(
            *_pack_operands(image, input, coordinates, weight, mask),
            _pack_output(image, out),
            displacement,
            mode,
            padding,
            align_corners,
            torch.get_num_threads(),
        )
    return out


def _backward_cpu(
    grad: Tensor,
    input: Tensor,
    coordinates: Tensor,
    weight: Tensor | None,
    mask: Tensor | None,
    displacement: bool,
    mode: int,
    padding: int,
    align_corners: bool,
    wanted: list[bool],
) -> tuple[Tensor, ...]:
    gradients = _empty_gradients(input, coordinates, weight, mask, wanted)
    if not grad.numel():
        return tuple(x.zero_() for x in gradients)
    image = input.ndim == 4
    _native.cpu().grid_sample_backward(
        _pack_output(image, grad),
        *_pack_operands(image, input, coordinates, weight, mask),
        *_pack_operands(image, *(x if x.numel() else None for x in gradients)),
        displacement,
        mode,
        padding,
        align_corners,
        torch.get_num_threads(),
    )
    return tuple(gradients)


def _backward_fake(
    grad: Tensor,
    input: Tensor,
    coordinates: Tensor,
    weight: Tensor | None,
    mask: Tensor | None,
    displacement: bool,
    mode: int,
    padding: int,
    align_corners: bool,
    wanted: list[bool],
) -> tuple[Tensor, ...]:
    return tuple(_empty_gradients(input, coordinates, weight, mask, wanted))


_native.define(
    "grid_sample(Tensor input, Tensor coordinates, Tensor? weight, Tensor? mask, bool displacement,"
    " int mode, int padding, bool align_corners) -> Tensor",
    cpu=_forward_cpu,
    fake=_empty_output,
)
_native.define(
    "grid_sample_backward(Tensor grad, Tensor input, Tensor coordinates, Tensor? weight,"
    " Tensor? mask, bool displacement, int mode, int padding, bool align_corners, bool[4] wanted)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    cpu=_backward_cpu,
    fake=_backward_fake,
)


class Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        ctx.save_for_backward(*arguments[:4])
        ctx.options = arguments[4:]
        return torch.ops.motion_lab.grid_sample(*arguments)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wanted = list(ctx.needs_input_grad[:4])
        # Only a backward that will be differentiated itself runs with gradients enabled.
        step = _SampleBackward.apply if torch.is_grad_enabled() else _sample_backward
        gradients = step(grad, *ctx.saved_tensors, *ctx.options, wanted)
        results = [x if want else None for x, want in zip(gradients, wanted, strict=True)]
        return (*results, None, None, None, None)


def _sample_backward(*arguments: Any) -> tuple[Tensor, ...]:
    return torch.ops.motion_lab.grid_sample_backward(*arguments)


class _SampleBackward(torch.autograd.Function):
    """The native backward; its own derivative is autograd's of the reference."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*arguments[:5])
        ctx.options, ctx.wanted = arguments[5:9], arguments[9]
        return _sample_backward(*arguments)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *seconds: Tensor) -> tuple[Tensor | None, ...]:
        results: list[Tensor | None] = [None] * 10
        with torch.enable_grad():
            values: list[Any] = [
                None if x is None else x.detach().requires_grad_() for x in ctx.saved_tensors
            ]
            grad, tensors = values[0], values[1:]
            out = _sample_by_reference(*tensors, *ctx.options)
            wanted = [i for i in range(4) if ctx.wanted[i]]
            firsts = torch.autograd.grad(
                out, [tensors[i] for i in wanted], grad, create_graph=True, materialize_grads=True
            )
        pairs = [
            (first, seconds[i])
            for first, i in zip(firsts, wanted, strict=True)
            if first.requires_grad  # zero where the mode has no slope
        ]
        if pairs:
            of = [i for i, x in enumerate(values) if x is not None]
            found = torch.autograd.grad(
                [first for first, _ in pairs],
                [values[i] for i in of],
                [second for _, second in pairs],
                allow_unused=True,
            )
            for i, x in zip(of, found, strict=True):
                results[i] = x
        return tuple(results)


def _sample_by_reference(
    input: Tensor,
    coordinates: Tensor,
    weight: Tensor | None,
    mask: Tensor | None,
    displacement: bool,
    mode: int,
    padding: int,
    align_corners: bool,
) -> Tensor:
    padding_mode = PADDING_MODES[padding]
    if displacement:
        return reference.warp(
            input,
            coordinates,
            weight,
            mask,
            padding_mode=padding_mode,
            align_corners=align_corners,
        )
    return reference.grid_sample(
        input,
        coordinates,
        mode=MODES[mode],
        padding_mode=padding_mode,
        align_corners=align_corners,
    )
