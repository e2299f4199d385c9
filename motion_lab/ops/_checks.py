"""Argument checks whose errors name the argument, what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence

import torch

FLOATING = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def check_tensor(
    op: str,
    name: str,
    tensor: torch.Tensor,
    *,
    dtypes: Sequence[torch.dtype] = FLOATING,
    device: torch.device | None = None,
) -> None:
    """Raises TypeError for a wrong type or dtype and ValueError for a wrong device."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{op}: {name} must be a tensor, got {type(tensor).__name__}")
    if tensor.dtype not in dtypes:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(
            f"{op}: {name} must be one of {allowed}, got {str(tensor.dtype).removeprefix('torch.')}"
        )
    if device is not None and tensor.device != device:
        raise ValueError(f"{op}: {name} must be on {device}, got {tensor.device}")


def check_shape(op: str, name: str, tensor: torch.Tensor, **expected: int) -> None:
    """Raises ValueError unless the tensor has exactly these sizes, in this order."""
    if tuple(tensor.shape) != tuple(expected.values()):
        labels, sizes = ", ".join(expected), ", ".join(map(str, expected.values()))
        comma = "," if len(expected) == 1 else ""
        raise ValueError(
            f"{op}: {name} must have shape ({labels}{comma}) = ({sizes}{comma}),"
            f" got {tuple(tensor.shape)}"
        )


def check_dims(op: str, name: str, tensor: torch.Tensor, *layouts: str) -> None:
    """Raises ValueError unless the rank is that of one layout, such as "batch, dim, length"."""
    if tensor.dim() not in [layout.count(",") + 1 for layout in layouts]:
        options = " or ".join(f"({layout})" for layout in layouts)
        raise ValueError(f"{op}: {name} must have shape {options}, got {tuple(tensor.shape)}")
