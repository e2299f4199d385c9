"""``python -m benchmarks kernels``: what every CUDA kernel takes, from the compiler alone."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import ptxas
from benchmarks.harness.occupancy import MULTIPROCESSORS
from benchmarks.harness.ptxas import Function
from motion_lab import _toolchain
from motion_lab.errors import MotionLabError, UsageError
from motion_lab.files import whole_file

CSRC = Path(__file__).resolve().parents[2] / "csrc"
NAME_WIDTH = 36


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "kernels",
        help="registers, spills, shared memory and occupancy of the CUDA kernels; needs no GPU",
        description="Compiles every csrc/<op>/cuda*.cu and prints what each kernel takes:"
        " registers, bytes of spill stores/loads and of stack a thread, bytes of static shared"
        " memory a block, and how much of a multiprocessor blocks of the launch bound's size can"
        " fill. Needs nvcc and no GPU.",
        epilog="Example: python -m benchmarks kernels selective_scan --arch 90 --check",
    )
    parser.add_argument("ops", nargs="*", metavar="OP", help="these ops; all without")
    parser.add_argument(
        "--arch",
        default="80,90",
        help="compute capabilities, with commas between; default: %(default)s",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument(
        "--check", action="store_true", help="exit with 1, naming the kernel, if any kernel spills"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    sources = sources_of(args.ops, CSRC)
    archs = architectures(args.arch)
    nvcc = _toolchain.find_nvcc()
    if nvcc is None:
        raise MotionLabError(f"The report needs nvcc, which was not found. {_toolchain.NVCC_HELP}")
    functions = ptxas.functions(nvcc, sources, archs, CSRC)
    print("\n".join([*table(functions), *remarks(functions)]))
    if args.json:
        report = {
            "nvcc": ptxas.version(nvcc),
            "options": ptxas.OPTIONS,
            "functions": [asdict(function) for function in functions],
        }
        with whole_file(args.json) as path:
            path.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if args.check and any(function.spills for function in functions) else 0


def sources_of(ops: list[str], csrc: Path) -> list[Path]:
    """The CUDA sources of the ops that are asked for, all without."""
    sources = sorted(csrc.glob("*/cuda*.cu"))
    known = sorted({source.parent.name for source in sources})
    for op in ops:
        if op not in known:
            raise UsageError(f"No CUDA kernel of an op {op!r}. There are: {', '.join(known)}.")
    return [source for source in sources if not ops or source.parent.name in ops]


def architectures(wish: str) -> list[str]:
    archs = wish.split(",")
    for arch in archs:
        if arch not in MULTIPROCESSORS:
            raise UsageError(
                f"Unknown architecture {arch!r} in --arch. Known are {', '.join(MULTIPROCESSORS)},"
                " with commas between."
            )
    return archs


HEADER = f"{'':{NAME_WIDTH}} arch  regs    spill  stack  shared threads blocks warps  occupancy"


def table(functions: list[Function]) -> list[str]:
    lines = [HEADER]
    op = None
    for function in functions:
        if function.op != op:
            op = function.op
            lines.append(op)
        name = "  " + ptxas.short_name(function.name)
        if len(name) > NAME_WIDTH:
            lines.append(name)
            name = ""
        lines.append(f"{name:{NAME_WIDTH}} {cells(function)}")
    return lines


def cells(function: Function) -> str:
    """A row of the table after the name."""
    spills = f"{function.spill_store_bytes}/{function.spill_load_bytes}"
    shared = f"{function.shared_bytes}{'+' if function.dynamic_shared else ''}"
    used = (
        f"{function.arch:>4} {function.registers or '-':>5} {spills:>8} {function.stack_bytes:>6}"
        f" {shared:>7} {function.threads or '-':>7}"
    )
    reach = function.occupancy
    if reach is None:
        return used + f" {'-':>6} {'-':>5}  -"
    limits = "+".join(reach.limited_by)
    return used + f" {reach.blocks:>6} {reach.warps:>5}  {reach.percent:.0f} % ({limits})"


def remarks(functions: list[Function]) -> list[str]:
    """What the table cannot say, a line for each kernel that it concerns."""
    lines = []
    for function in functions:
        where = f"{ptxas.short_name(function.name)} in {function.file}"
        if function.spills:
            lines.append(
                f"Spills: {where}, sm_{function.arch}, stores {function.spill_store_bytes} and"
                f" loads {function.spill_load_bytes} bytes a thread."
            )
        if function.registers is None:
            lines.append(f"Not inlined: {where} is a device function that kernels call.")
        elif function.threads is None:
            lines.append(
                f"No launch bounds: {where}. The compiler allows for blocks of 1024 threads, and"
                " the occupancy is not known; add __launch_bounds__."
            )
        if function.dynamic_shared:
            # Of all versions of a template in one line.
            name = ptxas.short_name(function.name).partition("<")[0]
            lines.append(
                f"Dynamic shared memory: {name} in {function.file}; the occupancy is at most that."
            )
    return ["", *dict.fromkeys(lines)] if lines else []
