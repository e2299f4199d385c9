"""Drop-in replacements: functions with the names and arguments of those they stand in for."""

from __future__ import annotations

from torch import Tensor

from motion_lab import ops


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """`torch.nn.functional.grid_sample`; ``align_corners=None`` means False, as it does there."""
    return ops.grid_sample(input, grid, mode, padding_mode, bool(align_corners))
