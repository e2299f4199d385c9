"""Kernels as functions on tensors; needs torch and nothing else."""

from motion_lab.ops._backends import backends, choose_from_environment, use_backend
from motion_lab.ops._native import NativeModuleError
from motion_lab.ops.causal_conv1d import causal_conv1d
from motion_lab.ops.grid_sample import grid_sample, warp
from motion_lab.ops.region_attention import RegionPlan, region_attention
from motion_lab.ops.selective_scan import selective_scan, selective_scan_step

__all__ = [
    "NativeModuleError",
    "RegionPlan",
    "backends",
    "causal_conv1d",
    "grid_sample",
    "region_attention",
    "selective_scan",
    "selective_scan_step",
    "use_backend",
    "warp",
]

choose_from_environment()
