"""Sampling images and volumes at given positions: `grid_sample`, and `warp` by displacements."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lab.ops import _native
from motion_lab.ops._backends import Backend, register, select
from motion_lab.ops._checks import check_shape, check_tensor
from motion_lab.ops._native_grid_sample import MODES, PADDING_MODES, native_sample, simt_sample
from motion_lab.ops.reference import grid_sample as reference


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    *,
    backend: str | None = None,
) -> Tensor:
    """`torch.nn.functional.grid_sample`, and more: mixed dtypes, and many grids for one input.

    Args:
        input: (N, C, H, W) or (N, C, D, H, W), float32, float64, bfloat16 or float16, any strides.
        grid: (N, *out, 2) with (x, y), or (N, *out, 3) with (x, y, z), in units in which -1 and 1
            are the input's ends; float32 (advised: half precision places pixels badly) or the
            input's dtype. ``out`` has the input's rank. One axis more, (N, K, *out, 2 | 3), samples
            each input at K grids without copying it.
        mode: "bilinear" (trilinear for volumes), "nearest", or, for images, "bicubic".
        padding_mode: what lies outside: "zeros", the nearest "border" cell, or a "reflection".
        align_corners: whether -1 and 1 are the centres of the outer cells or their borders.
        backend: a name out of ``backends("grid_sample")``; None takes the default.

    Returns:
        (N, C, *out), or (N, K, C, *out) for K grids, of the input's dtype. Differentiable in both
        arguments, twice.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape, dtype or device.
    """
    _check_coordinates("grid_sample", "grid", input, grid)
    _check_choice("grid_sample", "mode", mode, MODES)
    _check_choice("grid_sample", "padding_mode", padding_mode, PADDING_MODES)
    if mode == "bicubic" and input.ndim == 5:
        raise ValueError("grid_sample: mode 'bicubic' takes images (4 dimensions), got a volume")
    input, grid = _autocast(input, grid)
    call = select("grid_sample", input.device.type, backend).call
    return call(
        input, grid, mode=mode, padding_mode=padding_mode, align_corners=bool(align_corners)
    )


def warp(
    input: Tensor,
    displacement: Tensor,
    *,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    padding_mode: str = "border",
    align_corners: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Warps by displacements: bilinear sampling at each output cell's own place + displacement.

    The identity grid, the weighted sum and the masked product are never materialised.

    Args:
        input: (N, C, H, W) or (N, C, D, H, W), float32, float64, bfloat16 or float16, any strides.
        displacement: (N, *out, 2) with (x, y) or (N, *out, 3) with (x, y, z), in units in which the
            input's ends are -1 and 1; float32 or the input's dtype. ``out`` may differ from the
            input's size; the identity then scales. One axis more, (N, K, *out, 2 | 3), holds K
            fields.
        weight: (N, K, *out): the K fields are summed with these weights and the input is sampled
            once, at the sum. Without it K fields give K outputs.
        mask: (N, 1, *out): multiplies the result.
        padding_mode, align_corners: as in `grid_sample`.
        backend: a name out of ``backends("warp")``; None takes the default.

    Returns:
        (N, C, *out), or (N, K, C, *out) for K fields without weight, of the input's dtype.
        Differentiable in every tensor, twice.

    Raises:
        TypeError, ValueError: an argument of the wrong type, shape, dtype or device.
    """
    _check_coordinates("warp", "displacement", input, displacement)
    _check_choice("warp", "padding_mode", padding_mode, PADDING_MODES)
    batch = input.shape[0]
    axes = ("depth", "height", "width")[5 - input.ndim :]
    out = dict(zip(axes, displacement.shape[1 - input.ndim : -1], strict=True))
    if weight is not None:
        if displacement.ndim == input.ndim or not displacement.shape[1]:
            raise ValueError(
                "warp: weight needs K displacement fields, (N, K, ..., 2 | 3), got displacement of"
                f" shape {tuple(displacement.shape)}"
            )
        _check_like_input("warp", "weight", weight, input)
        check_shape("warp", "weight", weight, batch=batch, fields=displacement.shape[1], **out)
    if mask is not None:
        _check_like_input("warp", "mask", mask, input)
        check_shape("warp", "mask", mask, batch=batch, channels=1, **out)
    input, displacement, weight, mask = _autocast(input, displacement, weight, mask)
    call = select("warp", input.device.type, backend).call
    return call(
        input,
        displacement,
        weight,
        mask,
        padding_mode=padding_mode,
        align_corners=bool(align_corners),
    )


def _check_like_input(op: str, name: str, x: Tensor, input: Tensor) -> None:
    check_tensor(op, name, x, dtypes=(torch.float32, input.dtype), device=input.device)


def _check_coordinates(op: str, name: str, input: Tensor, x: Tensor) -> None:
    check_tensor(op, "input", input)
    if input.ndim not in (4, 5):
        raise ValueError(
            f"{op}: input must have 4 dimensions (N, C, H, W) or 5 (N, C, D, H, W), got shape"
            f" {tuple(input.shape)}"
        )
    if 0 in input.shape[2:]:
        raise ValueError(f"{op}: input must not be empty in space, got shape {tuple(input.shape)}")
    _check_like_input(op, name, x, input)
    rank = input.ndim - 2
    if x.ndim not in (input.ndim, input.ndim + 1) or x.shape[-1] != rank:
        raise ValueError(
            f"{op}: {name} must have {input.ndim} dimensions, or {input.ndim + 1} for K fields, and"
            f" end in {rank} coordinates for input of shape {tuple(input.shape)}, got shape"
            f" {tuple(x.shape)}"
        )
    if x.shape[0] != input.shape[0]:
        raise ValueError(
            f"{op}: {name} must have input's batch size {input.shape[0]}, got {x.shape[0]}"
        )


def _check_choice(op: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{op}: {name} must be one of {', '.join(choices)}, got {value!r}")


def _autocast(*tensors: Tensor | None) -> list[Tensor]:
    """Casts as autocast does for F.grid_sample: to float32 on a CPU, else to the widest dtype."""
    given = [x for x in tensors if x is not None]
    device = given[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)  # type: ignore[arg-type]
    wide = torch.float64 if any(x.dtype == torch.float64 for x in given) else torch.float32
    if device != "cpu" and all(x.dtype == given[0].dtype for x in given):
        wide = given[0].dtype
    return [x if x is None else x.to(wide) for x in tensors]  # type: ignore[misc]


def _torch_grid_sample(
    input: Tensor, grid: Tensor, *, mode: str, padding_mode: str, align_corners: bool
) -> Tensor:
    """`F.grid_sample`; K grids are laid one after another along the first axis of space."""
    wide = torch.promote_types(input.dtype, grid.dtype)
    many = grid.ndim > input.ndim
    sampled = F.grid_sample(
        input.to(wide),
        (grid.flatten(1, 2) if many else grid).to(wide),
        mode=mode,
        padding_mode=padding_mode,
        align_corners=align_corners,
    ).to(input.dtype)
    return sampled.unflatten(2, grid.shape[1:3]).movedim(2, 1) if many else sampled


def _torch_warp(
    input: Tensor,
    displacement: Tensor,
    weight: Tensor | None,
    mask: Tensor | None,
    *,
    padding_mode: str,
    align_corners: bool,
) -> Tensor:
    """The steps of `warp` one by one, around `F.grid_sample`."""
    wide = torch.promote_types(displacement.dtype, torch.float32)
    displacement = displacement.to(wide)
    if weight is not None:
        displacement = (displacement * weight.unsqueeze(-1)).sum(dim=1)
    rank = input.ndim - 2
    axes = []
    for size in displacement.shape[-1 - rank : -1]:
        step = 2 / max(size - 1, 1) if align_corners else 2 / size
        cells = torch.arange(size, device=input.device, dtype=wide)
        axes.append((cells - (size - 1) / 2) * step)
    identity = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)
    result = _torch_grid_sample(
        input,
        displacement + identity,
        mode="bilinear",
        padding_mode=padding_mode,
        align_corners=align_corners,
    )
    if mask is None:
        return result
    return (result * (mask.unsqueeze(1) if result.ndim > input.ndim else mask)).to(input.dtype)


def _native_grid_sample(
    sample: Callable[..., Tensor],
    input: Tensor,
    grid: Tensor,
    *,
    mode: str,
    padding_mode: str,
    align_corners: bool,
) -> Tensor:
    options = (False, MODES.index(mode), PADDING_MODES.index(padding_mode), align_corners)
    return sample(input, grid, None, None, *options)


def _native_warp(
    sample: Callable[..., Tensor], *tensors: Tensor | None, padding_mode: str, align_corners: bool
) -> Tensor:
    return sample(*tensors, True, 0, PADDING_MODES.index(padding_mode), align_corners)


for _op, _native_op, _torch_op, _reference_op in (
    ("grid_sample", _native_grid_sample, _torch_grid_sample, reference.grid_sample),
    ("warp", _native_warp, _torch_warp, reference.warp),
):
    register(
        _op,
        "native",
        Backend(
            partial(_native_op, native_sample),
            ("cpu", "cuda"),
            _native.problem,
            notes={"cuda": "float64 by the reference"},
        ),
    )
    register(_op, "torch", Backend(_torch_op, ("cpu", "cuda")))
    register(_op, "reference", Backend(_reference_op, ("cpu", "cuda")))
    register(
        _op,
        "native_atomic",
        Backend(
            partial(_native_op, partial(native_sample, atomic=True)),
            ("cuda",),
            _native.problem,
            automatic=False,
            notes={"cuda": "the input's gradient by atomics: not the same bits at every run"},
        ),
    )
    _native.register_simt(_op, partial(_native_op, simt_sample))
