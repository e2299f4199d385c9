"""Counting, checking and timing, held against numbers found by hand."""

import io
import time

import pytest
import torch

from benchmarks import catalogue, grid_sample, region_attention, selective_scan
from benchmarks.harness import limits
from benchmarks.harness.case import BOTH, FORWARD, Work, size_in_memory
from benchmarks.harness.check import error
from benchmarks.harness.limits import Limit, share
from benchmarks.harness.progress import Progress
from benchmarks.harness.timing import Budget, CpuTimer, CudaTimer, Times, interleave

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_contenders_take_turns_until_each_has_enough(lab):
    order = []
    calls = {name: lambda name=name: order.append(name) for name in ("quick", "slow")}

    class ByName(lab.Clock):
        def sample(self, call):
            call()
            return {"quick": 0.1, "slow": 1.0}[order[-1]]

    times = interleave(calls, ByName(), Budget(seconds=0.45, least=2, most=9))
    warm_up, order = order[:2], order[2:]
    assert warm_up == ["quick", "slow"]
    assert order == ["quick", "slow", "quick", "slow", "quick", "quick", "quick"]
    assert (times["quick"].samples, times["slow"].samples) == (5, 2)


def test_times_are_a_median_and_quartiles():
    assert Times.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Times(3.0, 2.0, 4.0, 5)
    assert Times.of([7.0]) == Times(7.0, 7.0, 7.0, 1)


def test_the_cpu_timer_times_the_call_and_not_the_emptying_of_the_cache(monkeypatch):
    timer = CpuTimer()
    monkeypatch.setattr(timer, "_other", Slow())
    assert 0.02 <= timer.sample(lambda: time.sleep(0.02)) < 0.3


class Slow:
    def sum(self):
        time.sleep(0.3)


def test_the_share_is_that_of_the_tightest_limit_that_a_case_has(lab):
    assert share(lab.LIMITS, lab.WORK, torch.float32, 0.008) == (pytest.approx(0.5), "matrix")
    assert share(lab.LIMITS, Work(bytes=8_000_000), torch.float32, 0.008) == (1.0, "copy")
    assert share(lab.LIMITS, Work(), torch.float32, 0.008) is None
    # Types without a rate of their own are held against float32's.
    half = {**lab.LIMITS, "matrix bfloat16": Limit(100e9, "told")}
    assert share(half, lab.WORK, torch.bfloat16, 0.008) == (pytest.approx(0.25), "copy")
    assert share(half, lab.WORK, torch.float16, 0.008) == (pytest.approx(0.5), "matrix")
    # 50 million operations at 10 a nanosecond, where exp has no unit of its own.
    shared = {name: limit for name, limit in lab.LIMITS.items() if name != "exp"}
    assert share(shared, lab.WORK, torch.float32, 0.01) == (pytest.approx(0.5), "matrix")


def test_limits_of_this_cpu_are_measured(monkeypatch):
    monkeypatch.setattr(limits, "_SECONDS", 0.02)
    found = limits.measure(torch.device("cpu"))
    assert list(found) == ["copy", "matrix float32"]
    assert all(limit.rate > 1e6 and limit.how for limit in found.values())


def test_an_error_is_relative_to_the_largest_value_and_names_its_place():
    truth = {"output": torch.tensor([1.0, -4.0]), "gradient of x": torch.tensor([10.0])}
    close = {"output": torch.tensor([1.0, -4.4]), "gradient of x": torch.tensor([12.0])}
    assert error(close, truth) == (pytest.approx(0.2), "gradient of x")
    assert error(truth, truth) == (0.0, "output")
    zero = {"output": torch.zeros(3)}
    assert error({"output": torch.tensor([0.0, 1e-3, 0.0])}, zero)[0] > 1


def test_memory_counts_what_an_expanded_axis_repeats_once():
    x = torch.zeros(1, 5, 7)
    assert size_in_memory(x.expand(4, 5, 7), None, torch.zeros(3, dtype=torch.int64)) == 140 + 24


def test_the_work_of_attention_counts_pairs_that_share_a_region():
    words = torch.tensor([[1, 2, 3]])
    q = torch.zeros(1, 2, 3, 8)
    inputs = {"q": q, "k": q, "v": q, "q_regions": words, "k_regions": words}
    # Of nine pairs all but (1, 2) and (2, 1), in two heads.
    forward = region_attention.attention_work(inputs, FORWARD)
    assert (forward.exps, forward.flops) == (14, 14 * 4 * 8)
    assert forward.bytes == 4 * q.numel() * 4 + 2 * 3 * 8
    both = region_attention.attention_work(inputs, BOTH)
    assert (both.exps, both.flops) == (28, 14 * 14 * 8)


def test_the_work_of_a_scan_counts_states_and_streams():
    length, dim, states = 5, 3, 2
    inputs = {
        name: torch.zeros(1, rows, length)
        for name, rows in (("u", dim), ("delta", dim), ("z", dim), ("B", states), ("C", states))
    } | {"A": torch.zeros(dim, states)}
    forward = selective_scan.scan_work(inputs, FORWARD)
    assert forward.bytes == 4 * length * (3 * dim + 2 * states + dim)
    assert forward.flops == length * dim * (6 * states + 4)
    assert forward.exps == length * dim * (states + 3)


def test_the_work_of_a_warp_counts_taps_and_fields():
    inputs = {
        "input": torch.zeros(1, 3, 2, 4, 5),
        "displacement": torch.zeros(1, 6, 2, 4, 5, 3),
        "weight": torch.zeros(1, 6, 2, 4, 5),
    }
    forward = grid_sample.warp_work(inputs, FORWARD)
    points = 2 * 4 * 5
    assert forward.flops == points * (2 * 8 * 3 + 2 * 6 * 3)
    assert forward.bytes == 4 * points * (3 + 6 * 3 + 6 + 3)


def test_progress_is_shown_on_a_terminal_alone(capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        progress = Progress(stream)
        progress.show("timing")
        progress.print("a row")
    assert "timing" in terminal.getvalue()
    assert file.getvalue() == ""
    assert capsys.readouterr().out == "a row\na row\n"


def test_cases_have_names_of_their_own_and_every_op_has_quick_ones():
    for op in catalogue.OPS.values():
        names = [case.name for case in op.cases]
        assert len(names) == len(set(names))
        assert any(case.quick and "cpu" in case.devices for case in op.cases)


@pytest.mark.cuda
@needs_gpu
def test_limits_of_this_gpu_are_measured():
    found = limits.measure(torch.device("cuda", 0))
    assert set(found) == {"copy", "matrix float32", "matrix bfloat16", "exp"}
    assert "in a chain on" in found["exp"].how
    # No GPU that the kernels are built for is slower, or faster than its tensor cores.
    assert 1e11 < found["copy"].rate < 2e13
    assert 1e12 < found["matrix float32"].rate < found["matrix bfloat16"].rate < 1e16
    assert 1e11 < found["exp"].rate < 1e14


@pytest.mark.cuda
@needs_gpu
def test_the_gpu_timer_measures_the_gpu_and_not_the_host():
    x = torch.randn(4096, 4096, device="cuda")

    def call():
        time.sleep(0.005)
        return x @ x

    timer = CudaTimer(x.device)
    timer.warm_up(call)
    # 137 GFLOP in float32.
    assert 1e-4 < timer.sample(call) < 0.03
