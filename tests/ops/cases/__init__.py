"""The table: every op with its cases, which tests/ops/test_battery.py runs on every target."""

from cases.causal_conv1d import CAUSAL_CONV1D
from cases.grid_sample import GRID_SAMPLE
from cases.op import Op
from cases.region_attention import REGION_ATTENTION
from cases.selective_scan import SELECTIVE_SCAN
from cases.selective_scan_step import SELECTIVE_SCAN_STEP
from cases.warp import WARP

OPS: tuple[Op, ...] = (
    SELECTIVE_SCAN,
    SELECTIVE_SCAN_STEP,
    CAUSAL_CONV1D,
    GRID_SAMPLE,
    WARP,
    REGION_ATTENTION,
)
