"""Metrics: plain functions of tensors, and the registered components made of them."""

from motion_lab.evaluation.metrics.images import grow, psnr, sharpness, ssim
from motion_lab.evaluation.metrics.metric import (
    Better,
    Metric,
    Need,
    Scores,
    build_metrics,
    measure,
    metric_specs,
)
from motion_lab.evaluation.metrics.probes import identified, probe_r2

__all__ = [
    "Better",
    "Metric",
    "Need",
    "Scores",
    "build_metrics",
    "grow",
    "identified",
    "measure",
    "metric_specs",
    "probe_r2",
    "psnr",
    "sharpness",
    "ssim",
]
