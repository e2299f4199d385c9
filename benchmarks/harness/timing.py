"""Times calls: cold caches, rounds in turns, median and quartiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Protocol

import torch

Call = Callable[[], object]


class Timer(Protocol):
    """Measures seconds on one kind of device."""

    def warm_up(self, call: Call) -> None: ...

    def sample(self, call: Call) -> float: ...


@dataclass(frozen=True)
class Budget:
    """How long a contender is measured: until its calls took ``seconds``, within the counts."""

    seconds: float
    least: int
    most: int


@dataclass(frozen=True)
class Times:
    """Seconds: the median and the quartiles of ``samples`` measurements."""

    median: float
    q1: float
    q3: float
    samples: int

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        if len(seconds) == 1:
            return cls(seconds[0], seconds[0], seconds[0], 1)
        q1, _, q3 = quantiles(seconds, method="inclusive")
        return cls(median(seconds), q1, q3, len(seconds))


def interleave(
    calls: Mapping[str, Call], timer: Timer, budget: Budget
) -> dict[str, Times | Exception]:
    """Times the calls in turns, one sample each a round, so that a drift of the machine hits all.

    A call that used up its budget leaves the rounds. One that raises has its exception as result.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    failed: dict[str, Times | Exception] = {}
    waiting = dict(calls)
    for name, call in calls.items():
        try:
            timer.warm_up(call)
        except Exception as error:  # whatever a peer raises becomes its row
            failed[name] = error
            del waiting[name]
    while waiting:
        for name, call in list(waiting.items()):
            mine = seconds[name]
            try:
                mine.append(timer.sample(call))
            except Exception as error:
                failed[name] = error
                del waiting[name]
                continue
            enough = len(mine) >= budget.least and sum(mine) >= budget.seconds
            if enough or len(mine) >= budget.most:
                del waiting[name]
    return {name: failed.get(name) or Times.of(seconds[name]) for name in calls}


class CpuTimer:
    """Wall time of one call, after reading a buffer twice as large as the last-level cache.

    Reading, not writing: dirty lines would have to go back to memory while the call is timed. It
    runs on all threads, which also keeps them awake: woken inside the call they would add
    milliseconds.
    """

    def __init__(self) -> None:
        self._other = torch.ones(2 * last_level_cache() // 4)

    def warm_up(self, call: Call) -> None:
        start = time.perf_counter()
        for _ in range(3):
            call()
            if time.perf_counter() - start > 0.5:
                break

    def sample(self, call: Call) -> float:
        self._other.sum()
        start = time.perf_counter()
        call()
        return time.perf_counter() - start


class CudaTimer:
    """GPU time of one call between two events, after evicting the L2 cache.

    A spinning kernel goes ahead for longer than it takes to issue the call, so that all of its
    kernels are queued when the first starts and the host is not measured.
    """

    _CYCLES_PER_SECOND = 2e9

    def __init__(self, device: torch.device) -> None:
        self._device = device
        cache = torch.cuda.get_device_properties(device).L2_cache_size
        self._other = torch.ones(max(2 * cache, 64 << 20) // 4, device=device)
        self._issue: dict[int, float] = {}

    def warm_up(self, call: Call) -> None:
        for _ in range(3):
            torch.cuda.synchronize(self._device)
            start = time.perf_counter()
            call()
            self._issue[id(call)] = time.perf_counter() - start
        torch.cuda.synchronize(self._device)

    def sample(self, call: Call) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.device(self._device):
            self._other.sum()
            lead = 2 * self._issue.get(id(call), 1e-3)
            torch.cuda._sleep(int(min(lead, 0.1) * self._CYCLES_PER_SECOND))
            start.record()
            call()
            end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3


def last_level_cache() -> int:
    """Bytes of the CPU's last-level cache, all its parts together; 32 MiB where unknown."""
    found: dict[tuple[int, str], int] = {}
    for cache in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cache/index[0-9]*"):
        try:
            level = int((cache / "level").read_text())
            shared = (cache / "shared_cpu_list").read_text()
            size = (cache / "size").read_text().strip()
        except (OSError, ValueError):
            continue
        if size.endswith("K"):
            found[level, shared] = int(size[:-1]) << 10
    top = max((level for level, _ in found), default=0)
    return sum(size for (level, _), size in found.items() if level == top) or 32 << 20
