"""The cases of warp."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st

from cases.op import ON_A_GPU, Arguments, Case, Op, Results, Target, any_layouts, normal
from motion_lab.ops import warp
from motion_lab.ops._native_grid_sample import PADDING_MODES


@dataclass(frozen=True)
class Warp(Case):
    sizes: tuple[int, ...] = (6, 9)
    out_sizes: tuple[int, ...] | None = None
    batch: int = 2
    channels: int = 5
    fields: int | None = None
    weighted: bool = False
    masked: bool = False
    padding: str = "border"
    align: bool = False
    spread: float = 0.3
    own: bool = False  # everything in the input's dtype, else all but it in at least float32

    def make(self, dtype: torch.dtype, draw: torch.Generator) -> Arguments:
        rest = dtype if self.own else torch.promote_types(dtype, torch.float32)
        out = self.out_sizes or self.sizes
        fields = () if self.fields is None else (self.fields,)
        shape = (self.batch, *fields, *out)
        input = normal(draw, self.batch, self.channels, *self.sizes, dtype=dtype)
        displacement = normal(draw, *shape, len(out), dtype=torch.float64) * self.spread
        return {
            "input": input,
            "displacement": displacement.to(rest),
            "weight": normal(draw, *shape, dtype=rest) if self.weighted else None,
            "mask": normal(draw, self.batch, 1, *out, dtype=rest) if self.masked else None,
            "padding_mode": self.padding,
            "align_corners": self.align,
        }


WIDE = Warp(dtypes=(torch.float32, torch.float64))
IMAGES = {
    "one field": WIDE,
    "a mask": Warp(masked=True),
    "many fields": replace(WIDE, fields=3),
    "many fields, a mask": Warp(fields=3, masked=True),
    "a weighted sum": replace(WIDE, fields=3, weighted=True),
    "a weighted sum, a mask": Warp(fields=4, weighted=True, masked=True),
    "a sum of one": replace(WIDE, fields=1, weighted=True),
    "another size": replace(WIDE, out_sizes=(13, 4), masked=True),
    "many channels": replace(WIDE, channels=37, masked=True),
    "zeros outside": replace(WIDE, padding="zeros", spread=1.5, masked=True),
    "reflection": replace(WIDE, padding="reflection", spread=3.0, fields=2, weighted=True),
    "aligned corners": replace(WIDE, align=True, masked=True),
    "aligned corners, another size": replace(WIDE, align=True, out_sizes=(3, 17)),
    "one output cell": replace(WIDE, out_sizes=(1, 1)),
    "one input cell": replace(WIDE, sizes=(1, 1), out_sizes=(4, 5)),
    "colour images": replace(WIDE, channels=3, sizes=(20, 31), batch=1),
    "one precision": Warp(fields=3, weighted=True, masked=True, own=True),
}
VOLUMES = {
    f"volume: {name}": replace(
        case, sizes=(3, *case.sizes), out_sizes=case.out_sizes and (2, *case.out_sizes)
    )
    for name, case in IMAGES.items()
}
LAST = ("channels last", "plain")
CASES = {
    **IMAGES,
    **VOLUMES,
    **{
        f"channels last: {name}": replace({**IMAGES, **VOLUMES}[name], channels=32, layouts=LAST)
        for name in ("a mask", "many fields, a mask", "volume: a weighted sum, a mask")
    },
    "one displacement, weight and mask": Warp(
        fields=4, weighted=True, masked=True, layouts=("plain", "expanded", "expanded", "expanded")
    ),
    "large": Warp((20, 31), batch=1, channels=20, fields=4, weighted=True, masked=True),
    "large volume": Warp((5, 12, 13), None, 1, 21, fields=3, masked=True, layouts=LAST),
    "no batch": Warp(batch=0, masked=True),
    "no channels": Warp(channels=0, masked=True),
    "no fields": Warp(fields=0),
}
CORE = ("large", "large volume", "one field")


@st.composite
def warps(draw: st.DrawFn) -> Warp:
    rank = draw(st.sampled_from([2, 3]))
    size = st.integers(1, 12 if rank == 2 else 5)
    fields = draw(st.sampled_from([None, 1, 3]))
    return Warp(
        sizes=tuple(draw(size) for _ in range(rank)),
        out_sizes=tuple(draw(size) for _ in range(rank)),
        batch=draw(st.integers(1, 3)),
        channels=draw(st.integers(1, 20)),
        fields=fields,
        weighted=fields is not None and draw(st.booleans()),
        masked=draw(st.booleans()),
        padding=draw(st.sampled_from(PADDING_MODES)),
        align=draw(st.booleans()),
        spread=draw(st.sampled_from([0.1, 1.0, 3.0])),
        own=draw(st.booleans()),
        layouts=draw(any_layouts),
    )


def call(arguments: Arguments, backend: str) -> Results:
    return {"out": warp(**arguments, backend=backend)}


def _inputs(t: Arguments) -> tuple[Any, ...]:
    padding = PADDING_MODES.index(t["padding_mode"])
    tensors = (t[name] for name in ("input", "displacement", "weight", "mask"))
    return *tensors, True, 0, padding, t["align_corners"]


def _forward(target: Target, t: Arguments) -> Iterator[tuple[Any, ...]]:
    yield _inputs(t)


def _backward(target: Target, t: Arguments) -> Iterator[tuple[Any, ...]]:
    inputs = _inputs(t)
    yield target.ops.grid_sample(*inputs), *inputs, [x is not None for x in inputs[:4]], False


WARP = Op(
    name="warp",
    call=call,
    cases=CASES,
    core=CORE,
    same_bits=CORE,
    twins=Warp((4, 5), (4, 5), channels=1, fields=1, weighted=True, masked=True),
    any_case=warps(),
    library={"grid_sample": _forward, "grid_sample_backward": _backward},
    differentiable=("input", "displacement", "weight", "mask"),
    small={
        "a mask": Warp((3, 3), (2, 1), 1, 2, masked=True),
        "a weighted sum of volumes": Warp((2, 3, 2), (1, 2, 1), 1, 1, 2, True, masked=True),
        "many fields": Warp((3, 3), (2, 1), 1, 2, 2, padding="zeros"),
    },
    twice_differentiable=True,
    parts={"cuda": ON_A_GPU, "simt": ON_A_GPU},
)
