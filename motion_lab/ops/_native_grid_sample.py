"""The native backend of `grid_sample` and `warp`: one op, its backward, and their autograd.

Both functions are the op ``motion_lab::grid_sample``, whose arguments csrc/grid_sample/contract.h
explains: ``coordinates`` are positions or, with ``displacement``, added to the identity grid;
``mode`` and ``padding`` index MODES and PADDING_MODES.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from motion_lab.ops import _native
from motion_lab.ops._autograd import distinct
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


def _empty_gradients(tensors: Sequence[Any], wanted: list[bool]) -> list[Tensor]:
    """One like each tensor; those that are not wanted have no elements."""
    return [
        torch.empty_like(x) if x is not None and want else tensors[0].new_empty(0)
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


def _pack_operands(image: bool, tensors: Sequence[Any]) -> list[_native.NativeTensor | None]:
    """As csrc/grid_sample/contract.h has them: images are volumes, one field is K = 1 fields."""
    input, coordinates, weight, mask = tensors
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


def _forward(kernels: _native.Kernels, *arguments: Any) -> Tensor:
    operands, options = arguments[:4], arguments[4:]
    out = _empty_output(*operands)
    if out.numel():
        image = operands[0].ndim == 4
        module, place = kernels(out)
        module.grid_sample(
            _pack_operands(image, operands), _pack_output(image, out), *options, *place
        )
    return out


def _backward_cpu(grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    operands, options, (wanted, _) = arguments[:4], arguments[4:8], arguments[8:]
    gradients = _empty_gradients(operands, wanted)
    if not grad.numel():
        return tuple(x.zero_() for x in gradients)
    image = operands[0].ndim == 4
    module, place = _native.cpu_kernels(grad)
    module.grid_sample_backward(
        _pack_output(image, grad),
        _pack_operands(image, operands),
        _pack_operands(image, [x if x.numel() else None for x in gradients]),
        *options,
        *place,
    )
    return tuple(gradients)


def _backward_gpu(grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    operands, options, (wanted, atomic) = arguments[:4], arguments[4:8], arguments[8:]
    gradients = _empty_gradients(operands, wanted)
    if not grad.numel():
        return tuple(x.zero_() for x in gradients)
    image = operands[0].ndim == 4
    depth = (2,) if image else ()
    packed = _pack_operands(image, operands)
    module, place = _native.gpu_kernels(grad)
    to_input, *to_rest, to_mask = (x if x.numel() else None for x in gradients)
    if to_input is not None:
        step = _add_up if atomic else _gather
        step(module, place, grad, packed, options, to_input)
    if any(wanted[1:]):
        to_masks: Any = to_mask
        if to_mask is not None and grad.ndim > operands[0].ndim:
            # What each output adds to the mask's gradient.
            to_masks = grad.new_empty(grad.shape[:2] + grad.shape[3:], dtype=torch.float32)
        module.grid_sample_backward(
            _pack_output(image, grad),
            packed,
            [*_pack_operands(image, (None, *to_rest, None))[:3], _pack(to_masks, *depth)],
            *options,
            *place,
        )
        if to_mask is not None and to_masks is not to_mask:
            to_mask.copy_(to_masks.sum(1, keepdim=True))
    return tuple(gradients)


def _add_up(
    module: ModuleType, place: Any, grad: Tensor, packed: Any, options: Any, to_input: Tensor
) -> None:
    """The input's gradient on a GPU by atomics, in whatever order they come."""
    image = to_input.ndim == 4
    sums = torch.zeros_like(to_input, dtype=torch.float32)
    target = _pack(sums, *((2,) if image else ()))
    module.grid_sample_scatter(_pack_output(image, grad), packed, target, *options, *place)
    to_input.copy_(sums)


def _gather(
    module: ModuleType, place: Any, grad: Tensor, packed: Any, options: Any, to_input: Tensor
) -> None:
    """The input's gradient on a GPU, added up in an order that is always the same.

    The workspace is PointLists of csrc/grid_sample/contract.h.
    """
    batch, channels, *sizes = to_input.shape
    _, mode, _, _ = options
    bilinear = MODES[mode] == "bilinear"
    entries = grad.numel() // channels * (4 ** len(sizes) if MODES[mode] == "bicubic" else 1)
    keys = batch * math.prod(size + bilinear for size in sizes)
    loads = entries, 4 if bilinear else 1
    crowded = entries * 2 ** (bilinear * len(sizes)) // module.grid_sample_crowd
    new = partial(torch.empty, device=grad.device)
    found = (
        new(entries, dtype=torch.int64),
        new(entries, dtype=torch.int32),
        new(loads, dtype=torch.float32),
        torch.zeros(keys + 1, dtype=torch.int32, device=grad.device),
    )
    module.grid_sample_locate(packed, [*map(_native.pack, found), *[None] * 5], *options, *place)
    lists = (
        *found,
        found[-1].cumsum(0),
        new(entries, dtype=torch.int32),
        new(entries, dtype=torch.int32),
        new(loads, dtype=torch.float32),
        torch.zeros(1 + crowded, dtype=torch.int64, device=grad.device),
    )
    packed_lists = [*map(_native.pack, lists)]
    module.grid_sample_order(packed_lists, batch, *place)
    # With one stride from cell to cell; copied only if there is none.
    flat = grad.flatten(-len(sizes))
    module.grid_sample_gather(
        _pack(flat, *((1,) if flat.ndim == 3 else ())),
        packed,
        _pack(to_input, *((2,) if len(sizes) == 2 else ())),
        packed_lists,
        *options,
        *place,
    )


def _backward_fake(grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    return tuple(_empty_gradients(arguments[:4], arguments[8]))


_native.define(
    "grid_sample(Tensor input, Tensor coordinates, Tensor? weight, Tensor? mask, bool displacement,"
    " int mode, int padding, bool align_corners) -> Tensor",
    cpu=partial(_forward, _native.cpu_kernels),
    gpu=partial(_forward, _native.gpu_kernels),
    fake=_empty_output,
)
# `atomic`: the input's gradient by atomics, on a GPU.
_native.define(
    "grid_sample_backward(Tensor grad, Tensor input, Tensor coordinates, Tensor? weight,"
    " Tensor? mask, bool displacement, int mode, int padding, bool align_corners, bool[4] wanted,"
    " bool atomic) -> (Tensor, Tensor, Tensor, Tensor)",
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    fake=_backward_fake,
)


class _Sample(torch.autograd.Function):
    """Sampling by the ops of a library: `motion_lab` or `motion_lab_simt`."""

    @staticmethod
    def forward(ctx: Any, library: str, atomic: bool, *arguments: Any) -> Tensor:
        ctx.save_for_backward(*arguments[:4])
        ctx.options = arguments[4:]
        ctx.way = library, atomic
        return getattr(torch.ops, library).grid_sample(*arguments)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wanted = list(ctx.needs_input_grad[2:6])
        # Only a backward that will be differentiated itself runs with gradients enabled.
        step = _SampleBackward.apply if torch.is_grad_enabled() else _sample_backward
        gradients = step(*ctx.way, grad, *ctx.saved_tensors, *ctx.options, wanted)
        results = [x if want else None for x, want in zip(gradients, wanted, strict=True)]
        return (None, None, *results, None, None, None, None)


def _sample_backward(library: str, atomic: bool, *arguments: Any) -> tuple[Tensor, ...]:
    return getattr(torch.ops, library).grid_sample_backward(*arguments, atomic)


class _SampleBackward(torch.autograd.Function):
    """The native backward; its own derivative is autograd's of the reference."""

    @staticmethod
    def forward(ctx: Any, library: str, atomic: bool, *arguments: Any) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*arguments[:5])
        ctx.options, ctx.wanted = arguments[5:9], arguments[9]
        return _sample_backward(library, atomic, *arguments)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *seconds: Tensor) -> tuple[Tensor | None, ...]:
        results: list[Tensor | None] = [None] * 12
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
                results[2 + i] = x
        return tuple(results)


def native_sample(*arguments: Any, atomic: bool = False) -> Tensor:
    if not _for_kernels(arguments[0]):
        return _sample_by_reference(*arguments)
    return _Sample.apply("motion_lab", atomic, *distinct(*arguments))


def simt_sample(*arguments: Any) -> Tensor:
    return _Sample.apply("motion_lab_simt", False, *distinct(*arguments))


def _for_kernels(input: Tensor) -> bool:
    """They count a channel's cells in 32 bits; those in CUDA compute in float32 alone."""
    wide = input.is_cuda and input.dtype == torch.float64
    # On the CPU each line of cells is followed by one of zeros.
    *lines, line = input.shape[2:]
    return not wide and math.prod(lines) * (line + 1) < 2**32 - 2


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
