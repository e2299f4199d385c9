"""The selective scan's cases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from cases.op import ON_A_GPU, Arguments, Case, Op, Results, Target, any_layouts, normal
from motion_lab.ops import selective_scan


@dataclass(frozen=True)
class Scan(Case):
    batch: int = 2
    dim: int = 20
    length: int = 37
    state: int = 5
    B: str = "time"  # "constant", "time", or a number of groups
    C: str = "time"
    D: bool = True
    z: bool = True
    delta_bias: bool = True
    delta_softplus: bool = True
    initial_state: bool = False
    reverse: bool = False
    bounds: tuple[int, ...] = ()
    fading: bool = True  # else A is near 0 and the errors of all steps add up

    def make(self, dtype: torch.dtype, draw: torch.Generator) -> Arguments:
        channels, states = (self.dim,), (self.dim, self.state)

        def wide(*shape: int) -> Tensor:
            return normal(draw, *shape, dtype=torch.promote_types(dtype, torch.float32))

        def signal() -> Tensor:
            return normal(draw, self.batch, self.dim, self.length, dtype=dtype)

        def coefficient(kind: str) -> Tensor:
            if kind == "constant":
                return wide(*states)
            groups = () if kind == "time" else (int(kind),)
            return normal(draw, self.batch, *groups, self.state, self.length, dtype=dtype)

        def positive(step_sizes: Tensor) -> Tensor:  # else the state grows without bound
            return step_sizes if self.delta_softplus else step_sizes.abs()

        sequences = len(self.bounds) - 1 if self.bounds else self.batch
        return {
            "u": signal(),
            "delta": 0.5 * positive(signal()),
            "A": -0.2 - torch.exp(wide(*states)) if self.fading else -0.01 * wide(*states).exp(),
            "B": coefficient(self.B),
            "C": coefficient(self.C),
            "D": wide(*channels) if self.D else None,
            "z": signal() if self.z else None,
            "delta_bias": positive(wide(*channels)) if self.delta_bias else None,
            "initial_state": wide(sequences, *states) if self.initial_state else None,
            "cu_seqlens": torch.tensor(self.bounds, dtype=torch.int32) if self.bounds else None,
            "delta_softplus": self.delta_softplus,
            "reverse": self.reverse,
        }


BASE = Scan()
SINGLE = replace(BASE, dtypes=(torch.float32,))
SMALL = Scan(2, 4, 9, 3, initial_state=True)
CASES = {
    "base": BASE,
    "channels last": replace(BASE, layouts=("channels last",)),
    "other strides": replace(SINGLE, layouts=("every second", "part of the channels")),
    "reverse, other strides": replace(BASE, reverse=True, layouts=("a part", "batch last")),
    "expanded": replace(SINGLE, layouts=("expanded",)),
    "plain": replace(SINGLE, z=False, D=False, delta_bias=False, delta_softplus=False),
    "initial state": replace(SINGLE, z=False, initial_state=True),
    "reverse, initial state": replace(SINGLE, reverse=True, initial_state=True),
    "constant B": replace(SINGLE, B="constant"),
    "constant C": replace(BASE, C="constant"),
    "constant B and C": replace(SINGLE, B="constant", C="constant", initial_state=True),
    "4 groups": replace(SINGLE, B="4", C="4"),
    "a group a channel": replace(SINGLE, B="20", C="20", batch=1),
    "groups of 18 channels": replace(SINGLE, dim=36, B="2", C="2"),
    "constant B, groups of C": replace(BASE, dim=36, B="constant", C="2"),
    "groups of 3 channels": replace(BASE, dim=9, B="3", C="3"),
    "packed": replace(SINGLE, batch=1, bounds=(0, 5, 5, 37), initial_state=True),
    "packed, reverse": replace(
        BASE, batch=1, bounds=(0, 1, 36, 37), initial_state=True, reverse=True
    ),
    "packed, longer than a chunk": replace(
        SINGLE, batch=1, length=150, bounds=(0, 64, 70, 150), B="2", C="2"
    ),
    "one step": replace(BASE, length=1),
    "one chunk": replace(SINGLE, length=32),
    "small": SMALL,
    "one of each": replace(SINGLE, length=33, batch=1, dim=1, state=1),
    "many states": replace(SINGLE, length=200, dim=3, state=17, initial_state=True),
    "many channels": replace(BASE, dim=70, state=16, batch=1, length=64),
    "larger": replace(SINGLE, dim=36, length=100, B="constant", C="2"),
    "a memory that hardly fades": replace(SINGLE, batch=1, dim=8, length=300, fading=False),
    "long": replace(SINGLE, batch=1, dim=8, length=500, state=3),
    # Beyond mamba-ssm's documented limits.
    "300 states": replace(SINGLE, batch=1, dim=3, length=33, state=300, initial_state=True),
    "70,000 channels": replace(
        SINGLE, batch=1, dim=70_000, length=3, state=2, targets=("cpu", "cuda")
    ),
    "unaligned": replace(BASE, length=33, layouts=("a part",)),
    "no batch": replace(SINGLE, batch=0, initial_state=True),
    "no channels": replace(SINGLE, dim=0, B="1", C="1", initial_state=True),
    "no steps": replace(SINGLE, length=0, B="1", C="1", initial_state=True),
    "no states": replace(SINGLE, state=0, B="1", C="1", initial_state=True),
}


@st.composite
def scans(draw: st.DrawFn) -> Scan:
    groups = draw(st.sampled_from([1, 2, 3]), label="groups")
    batch, length, bounds = draw(st.integers(1, 3)), draw(st.integers(1, 70)), ()
    if draw(st.booleans(), label="packed"):
        cuts = draw(st.lists(st.integers(0, length), max_size=3))
        batch, bounds = 1, (0, *sorted(cuts), length)
    kinds = st.sampled_from(["constant", str(groups)])
    flags = ("D", "z", "delta_bias", "delta_softplus", "initial_state", "reverse")
    return Scan(
        batch=batch,
        dim=groups * draw(st.integers(1, 20)),
        length=length,
        state=draw(st.integers(1, 9)),
        B=draw(kinds),
        C=draw(kinds),
        bounds=bounds,
        layouts=draw(any_layouts),
        **{name: draw(st.booleans(), label=name) for name in flags},
    )


def call(arguments: Arguments, backend: str) -> Results:
    out, last_state = selective_scan(**arguments, return_last_state=True, backend=backend)
    return {"out": out, "last_state": last_state}


def _inputs(t: Arguments) -> tuple[Any, ...]:
    B, C = (t[name][:, None] if t[name].ndim == 3 else t[name] for name in ("B", "C"))
    after = ("D", "z", "delta_bias", "initial_state", "cu_seqlens")
    return t["u"], t["delta"], t["A"], B, C, *(t[name] for name in after)


def _forward(target: Target, t: Arguments) -> Iterator[tuple[Any, ...]]:
    for keep in (False, True):
        yield *_inputs(t), t["delta_softplus"], t["reverse"], keep


def _backward(target: Target, t: Arguments) -> Iterator[tuple[Any, ...]]:
    options = (t["delta_softplus"], t["reverse"])
    out, last_state, kept = target.ops.selective_scan_forward(*_inputs(t), *options, True)
    yield *_inputs(t), *options, kept, out.clone(), last_state.clone()


# Float64 is the reference's on a GPU, and refused by simt.
SELECTIVE_SCAN = Op(
    name="selective_scan",
    call=call,
    cases=CASES,
    core=("many channels", "larger", "packed, longer than a chunk"),
    twins=SMALL,
    any_case=scans(),
    library={"selective_scan_forward": _forward, "selective_scan_backward": _backward},
    differentiable=("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state"),
    small={
        "initial state": Scan(1, 3, 5, 2, initial_state=True),
        "constant B, reverse": Scan(
            1, 3, 6, 2, B="constant", C="3", initial_state=True, reverse=True
        ),
        "packed": Scan(1, 2, 6, 2, bounds=(0, 2, 6), initial_state=True, z=False),
    },
    parts={
        "cuda": ON_A_GPU,
        "simt": replace(ON_A_GPU, core=("small",)),
    },
)
