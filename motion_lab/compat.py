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


def selective_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """`mamba_ssm.ops.selective_scan_interface.selective_scan_fn`, for real A and on any device.

    Unlike there, the last state is differentiable.
    """
    out, last_state = ops.selective_scan(
        u, delta, A, B, C, D, z, delta_bias, delta_softplus=delta_softplus, return_last_state=True
    )
    return (out, last_state) if return_last_state else out
