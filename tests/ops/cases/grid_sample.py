"""The cases of grid_sample."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st

from cases.op import ON_A_GPU, Arguments, Case, Op, Results, Target, any_layouts, normal
from motion_lab.ops import grid_sample
from motion_lab.ops._native_grid_sample import MODES, PADDING_MODES


@dataclass(frozen=True)
class Sample(Case):
    sizes: tuple[int, ...] = (6, 9)
    out_sizes: tuple[int, ...] = (7, 13)
    batch: int = 2
    channels: int = 5
    fields: int | None = None  # K grids for one input
    mode: str = "bilinear"
    padding: str = "zeros"
    align: bool = False
    spread: float = 1.0  # of the positions: at 1 about a third lies outside
    grid: str = "wide"  # "wide" (at least float32), "own" (the input's dtype) or "float32"

    def make(self, dtype: torch.dtype, draw: torch.Generator) -> Arguments:
        kinds = {"wide": torch.promote_types(dtype, torch.float32), "own": dtype}
        fields = () if self.fields is None else (self.fields,)
        shape = (self.batch, *fields, *self.out_sizes, len(self.sizes))
        input = normal(draw, self.batch, self.channels, *self.sizes, dtype=dtype)
        grid = normal(draw, *shape, dtype=torch.float64) * self.spread
        return {
            "input": input,
            "grid": grid.to(kinds.get(self.grid, torch.float32)),
            "mode": self.mode,
            "padding_mode": self.padding,
            "align_corners": self.align,
        }


IMAGE = Sample()
VOLUME = Sample((4, 5, 6), (3, 5, 7))
LAST = ("channels last", "plain")
WIDE = (torch.float32, torch.float64)


def _every_kind() -> Iterator[tuple[str, Sample]]:
    """Every mode, padding and alignment, with few channels and many in both memory formats."""
    for base, mode in itertools.product((IMAGE, VOLUME), MODES):
        rank = len(base.sizes)
        if (rank, mode) == (3, "bicubic"):
            continue
        for i, (align, padding) in enumerate(itertools.product((False, True), PADDING_MODES)):
            case = replace(base, mode=mode, padding=padding, align=align, dtypes=WIDE)
            name = f"{rank}d {mode} {padding}{' aligned' if align else ''}"
            plain, last = ((1, 16), (3, 21), (16, 1), (21, 3))[i % 4]
            yield name, replace(case, channels=plain)
            case = replace(case, channels=last, layouts=LAST, dtypes=WIDE[:1])
            yield f"{name}, channels last", case


def _one_cell() -> Iterator[tuple[str, Sample]]:
    sizes = ((1, 1), (1, 5), (4, 1), (1, 1, 1), (3, 1, 2))
    for i, (size, padding) in enumerate(itertools.product(sizes, PADDING_MODES)):
        base = IMAGE if len(size) == 2 else VOLUME
        case = replace(base, sizes=size, padding=padding, align=i % 2 == 1, dtypes=WIDE)
        yield f"axes of one cell {size} {padding}", case


EVERY_KIND = dict(_every_kind())
OWN = replace(IMAGE, grid="own", padding="border", spread=0.7)
CASES = {
    **EVERY_KIND,
    **dict(_one_cell()),
    "its own grid": OWN,
    "its own grid, nearest": replace(OWN, mode="nearest"),
    "its own grid, volume": replace(VOLUME, grid="own", padding="border", spread=0.7),
    "a float32 grid": replace(IMAGE, grid="float32"),
    "many grids": replace(IMAGE, fields=4, channels=3),
    "many grids, channels last": replace(IMAGE, fields=4, channels=16, layouts=LAST),
    "many grids, volume": replace(VOLUME, fields=4, channels=16, mode="nearest"),
    "one of many grids": replace(VOLUME, fields=1, channels=3),
    "expanded": replace(IMAGE, channels=16, layouts=("expanded", "plain"), dtypes=WIDE),
    "an expanded grid": replace(IMAGE, channels=16, layouts=("plain", "expanded"), dtypes=WIDE),
    "far outside": replace(IMAGE, spread=20.0, padding="reflection", dtypes=WIDE),
    "crowded": Sample((6, 9), (20, 20), 2, 3, spread=0.2),
    "crowded corners": Sample((5, 4), (30, 20), 1, 9, padding="border", spread=8.0, layouts=LAST),
    "crowded, bicubic": Sample((3, 3), (20, 20), 1, 3, mode="bicubic", padding="border"),
    "crowded, nearest": Sample((2, 3), (20, 20), 1, 5, mode="nearest", padding="border"),
    "crowded volume": Sample((2, 3, 2), (6, 7, 8), 1, 5, padding="border"),
    "crowded by many grids": Sample((4, 5), (10, 9), 1, 3, fields=5, spread=0.2),
    "one output cell": replace(VOLUME, out_sizes=(1, 1, 1)),
    "large": Sample((40, 30), (40, 30), batch=1, channels=3, padding="border"),
    "large, many channels": Sample((20, 20), (20, 20), batch=3, channels=40, mode="bicubic"),
    "large volume": Sample((5, 12, 14), (5, 12, 14), 1, 16, padding="reflection", layouts=LAST),
    "no batch": replace(IMAGE, batch=0),
    "no channels": replace(IMAGE, channels=0),
    "no rows": replace(IMAGE, out_sizes=(0, 2)),
    "no rows of a volume": replace(VOLUME, out_sizes=(1, 0, 2)),
    "no rows of many grids": replace(IMAGE, fields=2, out_sizes=(0, 2)),
    "no grids": replace(IMAGE, fields=0),
}
CORE = ("large", "large, many channels", "large volume", "many grids")

SMALL_IMAGE = Sample((3, 3), (2, 1), 1, 2, align=True, spread=0.7)
SMALL_VOLUME = Sample((2, 3, 2), (2, 1, 1), 1, 1, align=True, spread=0.7)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    rank = draw(st.sampled_from([2, 3]))
    size = st.integers(1, 12 if rank == 2 else 6)
    return Sample(
        sizes=tuple(draw(size) for _ in range(rank)),
        out_sizes=tuple(draw(size) for _ in range(rank)),
        batch=draw(st.integers(1, 3)),
        channels=draw(st.integers(1, 35)),
        fields=draw(st.sampled_from([None, 1, 3])),
        mode=draw(st.sampled_from(MODES[: 5 - rank])),
        padding=draw(st.sampled_from(PADDING_MODES)),
        align=draw(st.booleans()),
        spread=draw(st.sampled_from([0.5, 1.5, 20.0])),
        layouts=draw(any_layouts),
    )


def call(arguments: Arguments, backend: str) -> Results:
    return {"out": grid_sample(**arguments, backend=backend)}


def _inputs(t: Arguments) -> tuple[Any, ...]:
    options = (MODES.index(t["mode"]), PADDING_MODES.index(t["padding_mode"]), t["align_corners"])
    return t["input"], t["grid"], None, None, False, *options


def _forward(target: Target, t: Arguments) -> Iterator[tuple[Any, ...]]:
    yield _inputs(t)


def _backward(target: Target, t: Arguments) -> Iterator[tuple[Any, ...]]:
    for wanted in ([True, True, False, False], [False, True, False, False]):
        yield target.ops.grid_sample(*_inputs(t)), *_inputs(t), wanted, False


GRID_SAMPLE = Op(
    name="grid_sample",
    call=call,
    cases=CASES,
    core=CORE,
    same_bits=CORE,
    twins=Sample((4, 2), (3, 4), channels=3),
    any_case=samples(),
    library={"grid_sample": _forward, "grid_sample_backward": _backward},
    differentiable=("input", "grid"),
    small={
        f"{len(case.sizes)}d {mode} {padding}": replace(case, mode=mode, padding=padding)
        for case, modes in ((SMALL_IMAGE, MODES), (SMALL_VOLUME, MODES[:1]))
        for mode, padding in itertools.product(modes, PADDING_MODES)
    },
    twice_differentiable=True,
    parts={"cuda": ON_A_GPU, "simt": ON_A_GPU},
)
