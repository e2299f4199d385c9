"""A small op to benchmark, a clock that says what it was told, and limits that are known."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmarks import catalogue
from benchmarks.__main__ import main
from benchmarks.commands import run
from benchmarks.harness import limits
from benchmarks.harness.case import Case, Contender, Op, Work
from benchmarks.harness.limits import Limit

# By the limits below: 2 ms of copying, 4 ms of products, 1 ms of exp.
WORK = Work(bytes=2_000_000, flops=40_000_000, exps=1_000_000)
LIMITS = {
    "copy": Limit(1e9, "told"),
    "matrix float32": Limit(10e9, "told"),
    "exp": Limit(1e9, "told"),
}


class Clock:
    """Runs what it times, and gives one after another of the seconds it was told."""

    def __init__(self, *seconds):
        self.seconds, self.count = seconds, 0

    def warm_up(self, call):
        call()

    def sample(self, call):
        call()
        self.count += 1
        return self.seconds[(self.count - 1) % len(self.seconds)]


def contender(name, function, **options):
    return Contender(name, lambda inputs: lambda: function(inputs["x"]), **options)


def toy(ours=torch.square, *peers, **options):
    """An op that squares six numbers, in a case that is quick and in one that is not."""
    case = Case(
        "six", lambda device: {"x": torch.arange(1.0, 7.0) / 7}, lambda *_: WORK, quick=True
    )
    case = replace(case, **options)
    return Op(
        "toy",
        (case, replace(case, name="slow", quick=False)),
        contender("ours", ours),
        lambda inputs: inputs["x"] ** 2,
        peers,
    )


@pytest.fixture
def lab(monkeypatch, tmp_path, capsys):
    """`command(…)` runs the command line and gives its exit status and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(limits, "measure", lambda device: LIMITS)

    def command(*arguments, op=None, clock=None):
        if op is not None:
            monkeypatch.setattr(catalogue, "OPS", {op.name: op})
        if clock is not None:
            monkeypatch.setattr(run, "_timer", lambda device: clock)
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            status = stop.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return SimpleNamespace(
        command=command, toy=toy, contender=contender, Clock=Clock, WORK=WORK, LIMITS=LIMITS
    )
