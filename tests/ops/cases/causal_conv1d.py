"""The causal convolution's cases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st

from cases.op import ON_A_GPU, Arguments, Case, Op, Results, Target, any_layouts, normal
from motion_lab.ops import causal_conv1d


@dataclass(frozen=True)
class Convolution(Case):
    batch: int = 2
    dim: int = 20
    length: int = 37
    width: int = 4
    bias: bool = True
    silu: bool = True
    initial_state: bool = False
    reverse: bool = False

    def make(self, dtype: torch.dtype, draw: torch.Generator) -> Arguments:
        wide = torch.promote_types(dtype, torch.float32)
        edge = (self.batch, self.dim, self.width - 1)
        return {
            "x": normal(draw, self.batch, self.dim, self.length, dtype=dtype),
            "weight": normal(draw, self.dim, self.width, dtype=wide),
            "bias": normal(draw, self.dim, dtype=wide) if self.bias else None,
            "initial_state": normal(draw, *edge, dtype=dtype) if self.initial_state else None,
            "activation": "silu" if self.silu else None,
            "reverse": self.reverse,
        }


BASE = Convolution()
SINGLE = replace(BASE, dtypes=(torch.float32,))
SMALL = Convolution(2, 4, 9, 3, initial_state=True)
CASES = {
    "base": BASE,
    "channels last": replace(BASE, layouts=("channels last",)),
    "part of the channels": replace(BASE, layouts=("part of the channels",), initial_state=True),
    "other strides": replace(SINGLE, layouts=("every second", "transposed"), initial_state=True),
    "expanded": replace(SINGLE, layouts=("expanded",), initial_state=True),
    "plain": replace(SINGLE, bias=False, silu=False),
    "initial state": replace(BASE, initial_state=True),
    "reverse": replace(BASE, reverse=True, initial_state=True),
    "reverse, channels last": replace(BASE, reverse=True, layouts=("channels last",)),
    "one tap": replace(SINGLE, width=1, initial_state=True),
    "two taps": replace(BASE, width=2, initial_state=True),
    "nine taps": replace(SINGLE, width=9, reverse=True, initial_state=True),
    "more taps than steps": replace(SINGLE, length=3, width=7, initial_state=True),
    "more taps than steps, reverse": replace(
        SINGLE, length=3, width=7, initial_state=True, reverse=True, layouts=("channels last",)
    ),
    "one step": replace(BASE, length=1, initial_state=True),
    "short windows": replace(BASE, batch=9, length=5, dim=64, layouts=("channels last",)),
    "one of each": Convolution(1, 1, 1, 1),
    "small": SMALL,
    "many channels": Convolution(1, 290, 70, 4, initial_state=True, layouts=("channels last",)),
    "long": Convolution(1, 3, 4504, 4, initial_state=True),
    "long, reverse": replace(SINGLE, batch=1, dim=3, length=2100, reverse=True),
    "no batch": replace(SINGLE, batch=0, initial_state=True),
    "no channels": replace(SINGLE, dim=0, initial_state=True),
    "no steps": replace(SINGLE, length=0, initial_state=True),
}


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    flags = ("bias", "silu", "initial_state", "reverse")
    return Convolution(
        batch=draw(st.integers(1, 3)),
        dim=draw(st.integers(1, 70)),
        length=draw(st.integers(1, 150)),
        width=draw(st.integers(1, 6)),
        layouts=draw(any_layouts),
        **{name: draw(st.booleans(), label=name) for name in flags},
    )


def call(arguments: Arguments, backend: str) -> Results:
    out, last_state = causal_conv1d(**arguments, return_last_state=True, backend=backend)
    return {"out": out, "last_state": last_state}


def _inputs(t: Arguments) -> tuple[Any, ...]:
    tensors = (t[name] for name in ("x", "weight", "bias", "initial_state"))
    return *tensors, t["activation"] == "silu", t["reverse"]


def _forward(target: Target, t: Arguments) -> Iterator[tuple[Any, ...]]:
    yield _inputs(t)


def _backward(target: Target, t: Arguments) -> Iterator[tuple[Any, ...]]:
    yield *_inputs(t), target.ops.causal_conv1d_forward(*_inputs(t)).clone()


CAUSAL_CONV1D = Op(
    name="causal_conv1d",
    call=call,
    cases=CASES,
    core=("many channels", "reverse", "long"),
    twins=Convolution(4, 4, 3, 4, initial_state=True),
    any_case=convolutions(),
    library={"causal_conv1d_forward": _forward, "causal_conv1d_backward": _backward},
    differentiable=("x", "weight", "bias", "initial_state"),
    small={
        "initial state": Convolution(2, 3, 5, 3, initial_state=True),
        "reverse, no activation": Convolution(
            1, 3, 6, 4, initial_state=True, reverse=True, silu=False
        ),
    },
    parts={"cuda": ON_A_GPU, "simt": replace(ON_A_GPU, core=("reverse",))},
)
