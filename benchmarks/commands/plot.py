"""``plot``: draws a result file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import results
from benchmarks.harness.results import File, Row
from benchmarks.harness.table import percent
from motion_lab.errors import MotionLabError, UsageError
from motion_lab.files import whole_file

_MISSING = "No picture: matplotlib is not installed. pip install 'motion-lab[eval]' mends that."

_EPILOG = """examples:
  python -m benchmarks plot out/benchmarks/before.jsonl -o before.png
  python -m benchmarks plot density.jsonl -o density.png --against-work"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "plot",
        help="draw a result file",
        description="Draws how much faster ours is than each peer, and its share of the limit.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE.jsonl")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.png")
    parser.add_argument(
        "--against-work",
        action="store_true",
        help="draw each contender's time against the work, in shares of the op's largest case",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.output.suffix != ".png":
        raise UsageError(f"--output {arguments.output}: let the name of the picture end in .png.")
    draw = _draw_curves if arguments.against_work else _draw_bars
    said = picture(results.read(arguments.file), arguments.output, draw)
    if said == _MISSING:
        raise MotionLabError(said)
    print(said)
    return 0


def picture(file: File, output: Path, draw: Callable[[File, list[Row]], Any] | None = None) -> str:
    """Draws the file where matplotlib is, and gives a line that says what was done."""
    try:
        import matplotlib
    except ImportError:
        return _MISSING
    matplotlib.use("agg")
    drawn = [row for row in file.rows if row.who == "ours" and row.status == "measured"]
    if not drawn:
        return "No picture: nothing of ours was measured."
    from matplotlib import pyplot

    figure = (draw or _draw_bars)(file, drawn)
    run = file.run
    cpu = f"{run.cpu} ({run.isa}), {run.threads} threads"
    where = run.gpu if drawn[-1].device == "cuda" else cpu
    figure.suptitle(f"Motion Lab {run.motion_lab} · {where} · torch {run.torch} · {run.date[:10]}")
    with whole_file(output) as unfinished:
        figure.savefig(unfinished, format="png", dpi=110)
    pyplot.close(figure)
    return f"Picture: {output}"


def curves(rows: list[Row]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """For each contender and series of cases the work, in shares of the largest case of all rows,
    and the milliseconds it took. Cases of a series differ in what follows the last hyphen of their
    names.
    """
    measured = [row for row in rows if row.seconds and row.flops]
    largest = max((row.flops or 0 for row in measured), default=1)
    lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in measured:
        line = lines.setdefault((row.who, row.case.rpartition("-")[0]), [])
        line.append(((row.flops or 0) / largest, 1e3 * (row.seconds or 0)))
    return {name: sorted(line) for name, line in lines.items()}


def _draw_curves(file: File, ours: list[Row]) -> Any:
    """A panel an op and pass."""
    from matplotlib import pyplot

    panels = dict.fromkeys((row.op, row.passes) for row in ours)
    figure, grid = pyplot.subplots(
        1, len(panels), figsize=(6 * len(panels), 4.5), layout="constrained", squeeze=False
    )
    for axes, panel in zip(grid[0], panels, strict=True):
        rows = [row for row in file.rows if (row.op, row.passes) == panel]
        for (who, series), line in curves(rows).items():
            style = "o-" if who == "ours" else "s--"
            x, y = zip(*line, strict=True)
            axes.loglog(x, y, style, label=f"{who}, {series}", markersize=4)
        axes.set_title(" ".join(panel), fontsize=10)
        axes.set_xlabel("work, share of the largest case")
        axes.set_ylabel("milliseconds")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    return figure


def _draw_bars(file: File, ours: list[Row]) -> Any:
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(
        1,
        2,
        sharey=True,
        figsize=(12, 2.2 + 0.26 * len(ours)),
        width_ratios=(3, 2),
        layout="constrained",
    )
    places = {row.key[:-1]: place for place, row in enumerate(ours)}
    _draw_peers(left, [row for row in file.rows if row.ours_faster is not None], places)
    _draw_shares(right, ours)
    left.set_yticks(range(len(ours)), [_label(row) for row in ours], fontsize=8)
    left.set_ylim(len(ours) - 0.4, -0.6)
    new_op = [i - 0.5 for i in range(1, len(ours)) if ours[i].op != ours[i - 1].op]
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
        for place in new_op:
            axes.axhline(place, color="grey", linewidth=0.6)
    return figure


def _draw_peers(axes: Any, peers: list[Row], places: dict[tuple[str, ...], int]) -> None:
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("times faster than the peer (left of the line: slower)")
    if not peers:
        return
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    for number, name in enumerate(dict.fromkeys(row.who for row in peers)):
        mine = [row for row in peers if row.who == name]
        axes.plot(
            [row.ours_faster for row in mine],
            [places[row.key[:-1]] for row in mine],
            "osD^vPX*"[number % 8],
            label=name,
            color=f"C{number}",
        )
    # Numbers between the powers of ten too, while there is room for them.
    ratios = [row.ours_faster or 1 for row in peers]
    labelled = (1, 2, 5) if max(ratios) / min(ratios) < 300 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=labelled))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=6, frameon=False)


def _draw_shares(axes: Any, ours: list[Row]) -> None:
    for number, limit in enumerate(("copy", "matrix", "exp")):
        limited = [place for place, row in enumerate(ours) if row.limit == limit]
        shares = [100 * (ours[place].share or 0) for place in limited]
        if limited:
            bars = axes.barh(limited, shares, color=f"C{number}", label=f"of {limit}")
            labels = [f" {percent(share / 100)}" for share in shares]
            axes.bar_label(bars, labels, fontsize=8)
    axes.set_xlabel("percent of the tightest limit that ours reaches")
    if any(row.share is not None for row in ours):
        axes.set_xlim(0, max(100, *(115 * (row.share or 0) for row in ours)))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)


def _label(row: Row) -> str:
    return f"{row.op} {row.case} {row.passes.replace('forward', 'fwd').replace('backward', 'bwd')}"
