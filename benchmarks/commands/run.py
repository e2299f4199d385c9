"""``run``: measures cases, prints a table, writes a result file and a picture."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import torch

from benchmarks import catalogue
from benchmarks.commands.plot import picture
from benchmarks.harness import limits, machine, results, table
from benchmarks.harness.progress import Progress
from benchmarks.harness.runner import Bench, run_case
from benchmarks.harness.timing import Budget, CpuTimer, CudaTimer, Timer
from motion_lab.device import resolve_device
from motion_lab.errors import UsageError

# For each contender, in each pass over a case.
QUICK = Budget(seconds=0.25, least=5, most=25)
FULL = Budget(seconds=1.5, least=7, most=100)

_EPILOG = """example:
  python -m benchmarks run --device cpu --quick
  python -m benchmarks run selective_scan --case b8-d256-l250-n16 --peers loop,mambapy

Every result is compared with the reference before it is timed; a wrong one shows its error and no
time. Ours and the peers take turns, each call with cold caches; median and interquartile range are
shown. While a run is under way its rows are in FILE.jsonl.partial, which Ctrl-C leaves there."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "run",
        help="measure ops: ours, the peers, the limits",
        description="Measures ops and writes a table, a result file (JSON lines) and a picture.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "ops", nargs="*", metavar="OP", help=f"out of {', '.join(catalogue.OPS)}; all by default"
    )
    parser.add_argument("--device", choices=("cpu", "cuda", "all"), default="cpu")
    parser.add_argument(
        "--case", action="append", default=[], metavar="NAME", help="only this case (repeatable)"
    )
    parser.add_argument(
        "--peers",
        default="all",
        metavar="NAME,…",
        help="whom to compare with: all (default), none, or names",
    )
    parser.add_argument(
        "--quick", action="store_true", help="the smaller cases, fewer samples: minutes"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE.jsonl",
        help="the result file; the picture lies beside it (default: out/benchmarks/DATE.jsonl)",
    )
    parser.add_argument("--note", default="", help="a remark to keep with the results")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 1 where a result of ours is wrong or failed."""
    ops = catalogue.find_ops(arguments.ops)
    cases = catalogue.find_cases(ops, arguments.case, arguments.quick)
    if arguments.list:
        for op, case in cases:
            print(f"{op.name:<20} {case.name:<24} {'quick' if case.quick else ''}".rstrip())
        return 0
    peers: list[str] | None = None
    if arguments.peers != "all":
        peers = [] if arguments.peers == "none" else arguments.peers.split(",")
        catalogue.check_peers(peers, ops)
    devices = _devices(arguments.device)
    output = arguments.output or Path(f"out/benchmarks/{datetime.now():%Y-%m-%d-%H%M%S}.jsonl")
    if output.suffix != ".jsonl":
        raise UsageError(f"--output {output}: let the name of the result file end in .jsonl.")

    start = time.perf_counter()
    progress = Progress(sys.stderr)
    progress.show("measuring the limits")
    measured = {device.type: limits.measure(device) for device in devices}
    about = results.Run(
        **machine.describe(),
        schema=results.SCHEMA,
        quick=arguments.quick,
        note=arguments.note,
        limits={
            kind: {name: vars(limit) for name, limit in found.items()}
            for kind, found in measured.items()
        },
    )
    for line in table.heading(about):
        progress.print(line)
    for kind, found in measured.items():
        for line in table.limit_lines(kind, found):
            progress.print(line)
    if about.cores and about.load > 0.5 * about.cores:
        progress.print("Others are at work on this machine: expect wide spreads and low limits.")
    statuses: Counter[str] = Counter()
    todo = [(at, *pair) for at in devices for pair in cases if at.type in pair[1].devices]
    timers = {device: _timer(device) for device in devices}
    try:
        with results.writing(output, about) as writer:
            for number, (device, op, case) in enumerate(todo, 1):
                progress.prefix = f"{number}/{len(todo)} "
                bench = Bench(
                    device,
                    timers[device],
                    measured[device.type],
                    QUICK if arguments.quick else FULL,
                    progress.show,
                )
                for rows in run_case(op, case, bench, peers):
                    statuses[rows[0].status] += 1
                    for row in rows:
                        writer.row(row)
                    progress.print("")
                    for line in table.case_lines(rows):
                        progress.print(line)
    except KeyboardInterrupt:
        progress.print(f"Stopped. What was measured is in {results.partial(output)}.")
        return 130
    finally:
        progress.clear()
    print()
    print(table.LEGEND)
    seconds = time.perf_counter() - start
    counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
    print(f"Ours: {counts}; {seconds:.0f} s. Results: {output}")
    print(picture(results.read(output), output.with_suffix(".png")))
    return 1 if statuses["wrong"] or statuses["failed"] else 0


def _devices(name: str) -> list[torch.device]:
    if name != "all":
        return [resolve_device(name)]
    if torch.cuda.is_available():
        return [resolve_device("cpu"), resolve_device("cuda")]
    print("There is no GPU here: measuring on the CPU alone.", file=sys.stderr)
    return [resolve_device("cpu")]


def _timer(device: torch.device) -> Timer:
    return CudaTimer(device) if device.type == "cuda" else CpuTimer()
