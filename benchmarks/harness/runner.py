"""Runs cases: checks every contender, times those that are right, and gives their rows."""

from __future__ import annotations

import gc
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace

import torch

from benchmarks.harness.case import BOTH, Case, Contender, Op, Setting, Work
from benchmarks.harness.check import Values, error, expected, make_inputs, named, timed_call
from benchmarks.harness.limits import Limits, share
from benchmarks.harness.results import Row, Status
from benchmarks.harness.timing import Budget, Call, Timer, Times, interleave


@dataclass(frozen=True)
class Bench:
    """Where and how long to measure; ``say`` is told what is being done."""

    device: torch.device
    timer: Timer
    limits: Limits
    budget: Budget
    say: Callable[[str], None] = lambda text: None


def run_case(
    op: Op, case: Case, bench: Bench, peers: Container[str] | None = None
) -> Iterator[list[Row]]:
    """The rows of one case, a list for each pass: ours first, then the peers (named; None: all)."""
    contenders = [op.ours, *(p for p in op.peers + case.peers if peers is None or p.name in peers)]

    def nobody(status: Status, note: str) -> Iterator[list[Row]]:
        for passes in case.passes:
            rows = [_row(op, case, passes, contender.name, bench) for contender in contenders]
            yield [replace(row, status=status, note=note) for row in rows]

    reason = op.missing()
    if reason:
        yield from nobody("absent", reason)
        return
    bench.say(f"{op.name} {case.name}: reference")
    try:
        # The fuller pass knows the answers of both.
        truth = expected(op, case, bench.device, BOTH if BOTH in case.passes else case.passes[0])
        inputs = case.make(bench.device)
        works = {passes: case.work(inputs, passes) for passes in case.passes}
        del inputs
    except Exception as failure:
        yield from nobody("failed", f"the reference failed: {_first_line(failure)}")
        return
    for passes in case.passes:
        yield _run_pass(op, case, passes, contenders, truth, works[passes], bench)
        gc.collect()


def _run_pass(
    op: Op,
    case: Case,
    passes: str,
    contenders: list[Contender],
    truth: Values,
    work: Work,
    bench: Bench,
) -> list[Row]:
    rows: dict[str, Row] = {}
    calls: dict[str, Call] = {}
    for contender in contenders:
        bench.say(f"{op.name} {case.name} {passes}: checking {contender.name}")
        row = _row(op, case, passes, contender.name, bench)
        rows[row.who], call = _check(contender, case, row, truth, bench)
        if call is not None:
            calls[row.who] = call
    bench.say(f"{op.name} {case.name} {passes}: timing {', '.join(calls)}")
    times = interleave(calls, bench.timer, bench.budget)
    ours = times.get(op.ours.name)
    for who, found in times.items():
        if isinstance(found, Exception):
            rows[who] = replace(rows[who], status="failed", note=_first_line(found))
            continue
        used = share(bench.limits, work, case.dtype, found.median)
        rows[who] = replace(
            rows[who],
            seconds=found.median,
            q1=found.q1,
            q3=found.q3,
            samples=found.samples,
            bytes=work.bytes,
            flops=work.flops,
            exps=work.exps,
            share=used[0] if used else None,
            limit=used[1] if used else None,
        )
        if who != op.ours.name and isinstance(ours, Times):
            rows[who] = replace(rows[who], ours_faster=found.median / ours.median)
    return list(rows.values())


def _check(
    contender: Contender, case: Case, row: Row, truth: Values, bench: Bench
) -> tuple[Row, Call | None]:
    """The contender's row, and its call to time if its result is right."""
    reason = contender.missing(Setting(bench.device, row.passes))
    if reason:
        return replace(row, status="absent", note=reason), None
    try:
        inputs = make_inputs(case, bench.device, row.passes)
        call = timed_call(contender.prepare(inputs), inputs, row.passes)
        got = named(call(), inputs, row.passes)
    except Exception as failure:  # whatever a peer raises becomes its row
        return replace(row, status="failed", note=_first_line(failure)), None
    worst, where = error(got, {name: truth[name] for name in got})
    if worst <= case.tolerance:
        return replace(row, error=worst, note=contender.note(bench.device)), call
    if worst == float("inf"):
        return replace(
            row, status="wrong", note=f"{where} is not finite or has a wrong shape"
        ), None
    note = f"{where} is off by {worst:.1e} of its largest value, {case.tolerance:.0e} is allowed"
    return replace(row, status="wrong", error=worst, note=note), None


def _row(op: Op, case: Case, passes: str, who: str, bench: Bench) -> Row:
    dtype = str(case.dtype).removeprefix("torch.")
    return Row(op.name, case.name, passes, bench.device.type, dtype, who, "measured")


def _first_line(failure: Exception) -> str:
    line = next(iter(str(failure).strip().splitlines()), "")
    return f"{type(failure).__name__}: {line}" if line else type(failure).__name__
