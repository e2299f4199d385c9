"""Results as lines of text, at most 120 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from benchmarks.harness.limits import Limits
from benchmarks.harness.results import Row, Run

WIDTH = 120

LEGEND = """\
Times are medians, IQR is their interquartile range. GB/s and GFLOP/s: the least work of a case
by its time. % of copy, matrix or exp: the time that this limit of the machine allows for that
work by the time measured; the tightest limit is named."""


def heading(run: Run) -> list[str]:
    """What was measured on."""
    changed = " with changes" if run.dirty else ""
    lines = [
        f"Motion Lab {run.motion_lab}, commit {(run.commit or 'unknown')[:12]}{changed},"
        f" torch {run.torch}, Python {run.python}",
        f"{run.cpu}, {run.isa}; cores: {run.cores}, threads: {run.threads}, load: {run.load}",
    ]
    if run.gpu:
        lines.append(f"{run.gpu}, driver {run.driver or 'unknown'}")
    lines += [f"{kind} kernels: {name}" for kind, name in run.compilers.items() if name]
    return lines


def limit_lines(device: str, limits: Limits) -> list[str]:
    """The limits of a device, one a line."""
    units = {"copy": "GB/s", "exp": "G/s"}
    return [
        f"{device} limit  {name:<16}{limit.rate / 1e9:>9.1f} {units.get(name, 'GFLOP/s'):<9}"
        f"({limit.how})"
        for name, limit in limits.items()
    ]


def case_lines(rows: Sequence[Row]) -> list[str]:
    """One pass over one case: a title, then a line for each contender."""
    first = rows[0]
    title = f"{first.op} {first.case} {first.passes} ({first.dtype}, {first.device})"
    return [title, *(line for row in rows for line in _row_lines(row))]


def _row_lines(row: Row) -> list[str]:
    if row.status != "measured":
        label = "" if row.status == "absent" else f"{row.status.upper()}: "
        return _with_note(f"  {row.who:<13} ", label + row.note)
    assert row.seconds is not None
    spread = f"{row.spread:.0%}" if row.spread < 9.99 else ">999%"
    ratio = "" if row.ours_faster is None else f"ours is {times_faster(row.ours_faster)}"
    line = (
        f"  {row.who:<13}{duration(row.seconds):>10}  IQR {spread:>5}"
        f"{_rate(row.bytes, row.seconds, 'GB/s'):>12}"
        f"{_rate(row.flops, row.seconds, 'GFLOP/s'):>16}"
        f"{_share(row):>16}   {ratio}"
    ).rstrip()
    return _with_note(f"{line}  ", f"({row.note})") if row.note else [line]


def _with_note(start: str, note: str) -> list[str]:
    """A line with a remark behind it, folded where it grows too long."""
    folded = textwrap.wrap(note, WIDTH, initial_indent=" " * len(start), subsequent_indent=" " * 16)
    return [start + folded[0].lstrip(), *folded[1:]]


def _share(row: Row) -> str:
    if row.share is None:
        return ""
    return f"{percent(row.share)} of {row.limit}"


def _rate(amount: int | None, seconds: float, unit: str) -> str:
    if amount is None:
        return ""
    value = amount / seconds / 1e9
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.2g} {unit}"


def percent(share: float) -> str:
    """A share in two digits, or to the whole percent."""
    return f"{share:.0%}" if share >= 0.0995 else f"{100 * share:.2g}%"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them, in three digits."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def times_faster(ratio: float) -> str:
    """How a peer's time compares with ours: "3.1× faster", or "1.4× SLOWER"."""
    value, word = (ratio, "faster") if ratio >= 1 else (1 / ratio, "SLOWER")
    return f"{value:.0f}× {word}" if value >= 100 else f"{value:.3g}× {word}"
