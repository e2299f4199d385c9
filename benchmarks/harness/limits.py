"""The machine's limits, measured in the same run: what a result is a share of.

copy    bytes a second, read and written, of a copy far larger than the caches
matrix  additions and multiplications a second of dense products, for each type
exp     values a second of exp on a GPU, which has a unit for it

A CPU computes exp in its multiply-add units, five times for a value where a table helps: there it
counts as that many more additions and multiplications.

Each is the best of many tries: a limit is not a typical value.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from benchmarks.harness.case import Work
from benchmarks.harness.timing import last_level_cache

_SECONDS = 0.4  # of tries for each candidate of a limit
_EXP_FLOPS = 10  # of a value, where there is no unit for it
_CHAIN = 64  # values of exp2 that the GPU computes from each element

_EXP_CHAIN = f"""
template <typename T> T chain(T x) {{
  #pragma unroll
  for (int i = 0; i < {_CHAIN}; ++i) {{
    asm volatile("ex2.approx.ftz.f32 %0, %0;" : "+f"(x));
  }}
  return x;
}}
"""


@dataclass(frozen=True)
class Limit:
    """A rate a second, and how it was measured."""

    rate: float
    how: str


Limits = dict[str, Limit]
"""By name: "copy" and "matrix float32", on a GPU "matrix bfloat16" and "exp" too."""

# Times a call: the seconds of its fastest run.
Best = Callable[[Callable[[], object]], float]


def measure(device: torch.device) -> Limits:
    """Measures the limits of a device with the threads in use; takes some seconds."""
    if device.type == "cuda":
        return dict(_cuda(device, _best_on_gpu))
    return dict(_cpu(_best_on_cpu))


def share(
    limits: Limits, work: Work, dtype: torch.dtype, seconds: float
) -> tuple[float, str] | None:
    """The part of ``seconds`` that the tightest limit accounts for, and the name of that limit."""
    matrix = f"matrix {str(dtype).removeprefix('torch.')}"
    if matrix not in limits:
        matrix = "matrix float32"
    flops = work.flops
    if flops and work.exps and "exp" not in limits:
        flops += _EXP_FLOPS * work.exps
    needed = {"copy": work.bytes, matrix: flops, "exp": work.exps}
    times = {
        name: amount / limits[name].rate
        for name, amount in needed.items()
        if amount and name in limits
    }
    if not times:
        return None
    tightest = max(times, key=lambda name: times[name])
    return times[tightest] / seconds, tightest.split()[0]


def _cpu(best: Best) -> Iterator[tuple[str, Limit]]:
    yield "copy", _copy("cpu", 8 * last_level_cache(), best)
    with torch.no_grad():
        # torch's two libraries differ by processor; the better one is near the peak.
        a, b = torch.randn(2, 1024, 1024)
        product = torch.empty(1024, 1024)
        image, kernel = torch.randn(2, 64, 56, 56), torch.randn(64, 64, 3, 3)
        image = image.to(memory_format=torch.channels_last)
        kernel = kernel.to(memory_format=torch.channels_last)
        taps = 2 * 54 * 54 * 64 * 64 * 9
        yield (
            "matrix float32",
            max(
                Limit(2 * 1024**3 / best(lambda: torch.mm(a, b, out=product)), "torch.mm, 1024³"),
                Limit(
                    2 * taps / best(lambda: F.conv2d(image, kernel)),
                    "F.conv2d, 3×3, 64 channels, 2 images of 56×56",
                ),
                key=lambda limit: limit.rate,
            ),
        )


def _cuda(device: torch.device, best: Best) -> Iterator[tuple[str, Limit]]:
    yield "copy", _copy(device, 1 << 30, best)
    size = 8192
    for dtype in (torch.float32, torch.bfloat16):
        # TensorFloat32 is no float32: cuBLAS leaves it out unless it was allowed.
        a, b = torch.randn(2, size, size, device=device, dtype=dtype)
        product = torch.empty_like(a)
        name = str(dtype).removeprefix("torch.")
        seconds = best(functools.partial(torch.mm, a, b, out=product))
        yield f"matrix {name}", Limit(2 * size**3 / seconds, f"torch.mm, {size}³")
    yield "exp", _exp_on_gpu(device, best)


def _exp_on_gpu(device: torch.device, best: Best) -> Limit:
    x = torch.zeros(1 << 22, device=device)
    try:
        chain = torch.cuda.jiterator._create_jit_fn(_EXP_CHAIN)
        seconds = best(lambda: chain(x))
    except Exception as error:  # without NVRTC; the rate is then the cache's, and said to be
        y = torch.empty_like(x)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        how = f"torch.exp2, 16 MiB; too low, since ex2 in a chain failed: {reason}"
        return Limit(x.numel() / best(lambda: torch.exp2(x, out=y)), how)
    return Limit(_CHAIN * x.numel() / seconds, f"ex2.approx, {_CHAIN} in a chain on 2²² values")


def _copy(device: torch.device | str, size: int, best: Best) -> Limit:
    source = torch.ones(size // 8, device=device)
    target = torch.ones_like(source)
    rate = 2 * source.nbytes / best(lambda: target.copy_(source))
    return Limit(rate, f"copy_ of {source.nbytes >> 20} MiB")


def _best_on_cpu(call: Callable[[], object]) -> float:
    call()
    fastest = float("inf")
    end = time.perf_counter() + _SECONDS
    while (start := time.perf_counter()) < end:
        call()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def _best_on_gpu(call: Callable[[], object]) -> float:
    call()
    fastest = float("inf")
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(11)]
        marks[0].record()
        for mark in marks[1:]:
            call()
            mark.record()
        marks[-1].synchronize()
        for before, after in itertools.pairwise(marks):
            fastest = min(fastest, before.elapsed_time(after) / 1e3)
    return fastest
