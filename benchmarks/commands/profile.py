"""``profile``: a trace of one case, and the commands that look deeper."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, record_function

from benchmarks import catalogue
from benchmarks.harness.case import Case, Op, Setting
from benchmarks.harness.check import make_inputs, timed_call
from benchmarks.harness.timing import Call
from motion_lab.device import resolve_device
from motion_lab.errors import MotionLabError
from motion_lab.files import whole_file

_WARM_UP, _CALLS = 3, 10

_EPILOG = """example:
  python -m benchmarks profile selective_scan --case b8-d256-l250-n16 -o out/profile

Open the trace in chrome://tracing or https://ui.perfetto.dev."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "profile",
        help="trace one case of an op",
        description="Traces our kernel at one case and prints the ncu and nsys command lines.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("op", metavar="OP", help=f"one of {', '.join(catalogue.OPS)}")
    parser.add_argument("--case", metavar="NAME", help="the case (default: the op's first)")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="a GPU if there is one"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--no-trace",
        action="store_true",
        help="only run the calls, within NVTX ranges: what ncu and nsys want",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    op, case = catalogue.find_cases(
        catalogue.find_ops([arguments.op]), [arguments.case] if arguments.case else [], False
    )[0]
    device = resolve_device(arguments.device)
    arguments.output.mkdir(parents=True, exist_ok=True)
    calls = {passes: _call(op, case, device, passes) for passes in case.passes}
    for call in calls.values():
        for _ in range(_WARM_UP):
            call()
    if arguments.no_trace:
        _run_all(calls, device)
    else:
        path = arguments.output / f"{op.name}-{case.name}-{device.type}.json"
        _trace(calls, device, path)
        print(f"Trace: {path}")
    for line in _deeper(op, case, arguments.output):
        print(line)
    return 0


def _call(op: Op, case: Case, device: torch.device, passes: str) -> Call:
    reason = op.missing() or op.ours.missing(Setting(device, passes))
    if reason:
        raise MotionLabError(f"{op.name} {case.name} {passes} on {device}: {reason}")
    inputs = make_inputs(case, device, passes)
    return timed_call(op.ours.prepare(inputs), inputs, passes)


def _run_all(calls: dict[str, Call], device: torch.device) -> None:
    for passes, call in calls.items():
        for _ in range(_CALLS):
            with record_function(passes), _nvtx(passes, device):
                call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def _nvtx(name: str, device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    torch.cuda.nvtx.range_push(name)
    try:
        yield
    finally:
        torch.cuda.nvtx.range_pop()


def _trace(calls: dict[str, Call], device: torch.device, path: Path) -> None:
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities, record_shapes=True) as profiler:
        _run_all(calls, device)
    with whole_file(path) as unfinished:
        # The exporter compresses what does not end in .json.
        json = unfinished.with_suffix(".json")
        profiler.export_chrome_trace(str(json))
        json.replace(unfinished)
    order = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    print(profiler.key_averages().table(sort_by=order, row_limit=12, max_name_column_width=40))


def _deeper(op: Op, case: Case, folder: Path) -> list[str]:
    again = (
        f"python -m benchmarks profile {op.name} --case {case.name} --device cuda --no-trace"
        f" -o {folder}"
    )
    name = folder / f"{op.name}-{case.name}"
    return [
        "Every kernel of the forward pass in detail, on a machine with a GPU and Nsight Compute:",
        f"  ncu --nvtx --nvtx-include 'forward/' --set full -o {name} {again}",
        "The timeline, with Nsight Systems:",
        f"  nsys profile --trace cuda,nvtx -o {name} {again}",
    ]
