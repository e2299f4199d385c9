"""The command ``python -m benchmarks``: parses, calls, prints errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.commands import compare, kernels, plot, profile, run
from motion_lab.errors import MotionLabError

_COMMANDS = (run, compare, plot, profile, kernels)

_EXAMPLE = """example:
  python -m benchmarks run warp --quick
  python -m benchmarks run --device cpu --output before.jsonl
  python -m benchmarks compare before.jsonl after.jsonl

docs/benchmarks.md says how to read a result and how to add a case or a peer."""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures the kernels and the pipeline against their limits and their peers.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = top.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(subparsers)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the exit status: 0 done, 1 failed, 2 wrong use."""
    parsed = parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except MotionLabError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
