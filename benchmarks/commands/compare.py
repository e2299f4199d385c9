"""``compare``: two result files side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.harness import results
from benchmarks.harness.results import Row, Run
from benchmarks.harness.table import duration
from motion_lab.errors import UsageError

# Medians of an idle machine differ by this from run to run, however narrow each run's own spread.
NOISE = 0.03
WORSE = ("SLOWER", "BROKEN")

_EPILOG = """example:
  python -m benchmarks compare before.jsonl after.jsonl --fail-on-slower

A time is marked as moved if the medians differ by more than the two interquartile ranges together,
and by more than 3 %."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "compare",
        help="compare two result files",
        description="Matches rows by op, case, pass, device, type and contender.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before", type=Path, metavar="A.jsonl")
    parser.add_argument("after", type=Path, metavar="B.jsonl")
    parser.add_argument(
        "--fail-on-slower",
        action="store_true",
        help="exit with 1 where ours became slower, or is no longer right",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    before, after = results.read(arguments.before), results.read(arguments.after)
    for line in differences(before.run, after.run):
        print(f"Note: {line}")
    new = {row.key: row for row in after.rows}
    pairs = [(row, new[row.key]) for row in before.rows if row.key in new]
    if not pairs:
        raise UsageError(f"{before.path} and {after.path} have no row in common.")
    print(f"{'':<70}{'A':>9}{'B':>10}{'B / A':>9}  IQR A / B")
    for a, b in pairs:
        if "measured" in (a.status, b.status) or judge(a, b):
            print(_line(a, b))
    matched = {a.key for a, _ in pairs}
    for file, name in ((before, "A"), (after, "B")):
        alone = [" ".join(row.key[:3]) for row in file.rows if row.key not in matched]
        for case in dict.fromkeys(alone):
            print(f"Only in {name}: {case}")
    worse = [b for a, b in pairs if b.who == "ours" and judge(a, b) in WORSE]
    print(f"Ours: {len(worse)} of {sum(b.who == 'ours' for _, b in pairs)} slower or broken.")
    return 1 if worse and arguments.fail_on_slower else 0


def judge(a: Row, b: Row) -> str:
    """What became of a row: "SLOWER", "faster", "BROKEN", "now measured", … or "", no change."""
    if a.seconds is None or b.seconds is None:
        if a.status == b.status:
            return ""
        return "BROKEN" if b.status in ("wrong", "failed") else f"now {b.status}"
    moved = b.seconds - a.seconds
    ranges = a.spread * a.seconds + b.spread * b.seconds
    if abs(moved) <= max(ranges, NOISE * min(a.seconds, b.seconds)):
        return ""
    return "SLOWER" if moved > 0 else "faster"


def differences(a: Run, b: Run) -> list[str]:
    """What else than the code differs between two runs."""
    names = {
        "cpu": "processors",
        "isa": "instruction sets",
        "gpu": "GPUs",
        "driver": "drivers",
        "threads": "threads",
        "openmp": "OpenMP settings",
        "torch": "versions of torch",
        "compilers": "compilers",
        "quick": "lengths (--quick)",
    }
    return [
        f"different {name}: {getattr(a, field)} and {getattr(b, field)}"
        for field, name in names.items()
        if getattr(a, field) != getattr(b, field)
    ]


def _line(a: Row, b: Row) -> str:
    name = f"{a.op} {a.case} {a.passes} {a.who}"
    if a.seconds is None or b.seconds is None:
        return f"{name:<70}{_time(a):>9}{_time(b):>10}  {judge(a, b)}".rstrip()
    return (
        f"{name:<70}{_time(a):>9}{_time(b):>10}{b.seconds / a.seconds:>9.3f}"
        f"  {a.spread:>4.0%}{b.spread:>5.0%}  {judge(a, b)}"
    ).rstrip()


def _time(row: Row) -> str:
    return row.status if row.seconds is None else duration(row.seconds)
