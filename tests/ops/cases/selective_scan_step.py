"""The cases of the scan's single step: those of a scan, at one time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from cases.op import ON_A_GPU, Arguments, Case, Op, Results, Target, any_layouts
from cases.selective_scan import Scan
from motion_lab.ops import selective_scan_step


@dataclass(frozen=True)
class Step(Case):
    batch: int = 2
    dim: int = 20
    state: int = 5
    groups: int | None = None
    options: bool = True  # D, z, delta_bias and the softplus

    def make(self, dtype: torch.dtype, draw: torch.Generator) -> Arguments:
        kind = "time" if self.groups is None else str(self.groups)
        on = dict.fromkeys(("D", "z", "delta_bias", "delta_softplus"), self.options)
        scan = Scan(self.batch, self.dim, 1, self.state, kind, kind, initial_state=True, **on)
        t = scan.make(dtype, draw)
        now = {
            name: t[name] if t[name] is None else t[name][..., 0]
            for name in ["u", "delta", "B", "C", "z"]
        }
        rest = {name: t[name] for name in ("A", "D", "delta_bias", "delta_softplus")}
        return {"state": t["initial_state"], **now, **rest}


BASE = Step()
CASES = {
    "base": BASE,
    "plain": Step(options=False),
    "4 groups": Step(groups=4),
    "a group a channel": Step(groups=20, batch=1),
    "small": Step(2, 4, 3, groups=2),
    "one of each": Step(1, 1, 1),
    "many channels": Step(5, 150, 17),
    "other strides": Step(groups=2, layouts=("every second", "batch last", "a part")),
    "expanded": Step(layouts=("expanded",)),
    "no batch": Step(0),
    "no channels": Step(dim=0, groups=1),
    "no states": Step(state=0),
}


@st.composite
def steps(draw: st.DrawFn) -> Step:
    groups = draw(st.sampled_from([1, 2, 3]))
    return Step(
        batch=draw(st.integers(1, 3)),
        dim=groups * draw(st.integers(1, 40)),
        state=draw(st.integers(1, 20)),
        groups=draw(st.sampled_from([None, groups])),
        options=draw(st.booleans()),
        layouts=draw(any_layouts),
    )


def call(arguments: Arguments, backend: str) -> Results:
    state = arguments["state"].clone()  # it is updated in place
    return {
        "out": selective_scan_step(**{**arguments, "state": state}, backend=backend),
        "state": state,
    }


def _step(target: Target, t: Arguments) -> Iterator[tuple[Any, ...]]:
    t = {name: x.to(t["state"]) if isinstance(x, Tensor) else x for name, x in t.items()}
    B, C = (t[name][:, None] if t[name].ndim == 2 else t[name] for name in "BC")
    rest = (t[name] for name in ("D", "z", "delta_bias", "delta_softplus"))
    yield t["state"], t["u"], t["delta"], t["A"], B, C, *rest


SELECTIVE_SCAN_STEP = Op(
    name="selective_scan_step",
    call=call,
    cases=CASES,
    core=("many channels", "4 groups"),
    twins=BASE,
    any_case=steps(),
    library={"selective_scan_step": _step},
    parts={
        "cuda": replace(ON_A_GPU, gradients=False),
        "simt": replace(ON_A_GPU, gradients=False, core=("small",)),
    },
)
