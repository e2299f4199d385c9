"""Dense motion of keypoint animators, with torch's operations and with `warp`: one result.

    python examples/dense_motion.py [--threads 2] [--device cpu]

face-vid2vid and LivePortrait sample a volume at 22 shifted places, have a network weigh those
candidates, and warp the features by the weighted shifts; a mask hides what the source does not
show. First-order models (FOMM) do the same to images, at 11 places. The network is left out: it is
the same both ways, and its answer, `logits`, is given. Prints times, and how much memory each takes
beyond its inputs and results.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lab.ops import warp

# Channels and size of what the candidates show; channels of the features; candidates.
PATTERNS = {
    "LivePortrait": ((4, 16, 64, 64), 32, 22),
    "FOMM": ((3, 64, 64), 256, 11),
}


def with_torch(
    small: Tensor, features: Tensor, shifts: Tensor, logits: Tensor, occlusion: Tensor
) -> tuple[Tensor, Tensor]:
    """As the published models write it."""
    batch, count, rank = shifts.shape
    theta = torch.eye(rank, rank + 1).expand(batch, -1, -1).to(small)
    identity = F.affine_grid(theta, list(small.shape), align_corners=False)
    grids = identity.unsqueeze(1) + shifts.view(batch, count, *[1] * rank, rank)
    copies = small.unsqueeze(1).repeat(1, count, *[1] * (rank + 1))
    candidates = F.grid_sample(copies.flatten(0, 1), grids.flatten(0, 1), align_corners=False)
    flow = (grids * logits.softmax(1).unsqueeze(-1)).sum(1)
    warped = F.grid_sample(features, flow, align_corners=False) * occlusion
    return candidates.unflatten(0, (batch, count)), warped


def with_warp(
    small: Tensor, features: Tensor, shifts: Tensor, logits: Tensor, occlusion: Tensor
) -> tuple[Tensor, Tensor]:
    """No grids, no copies: a shift is one vector, at a stride of zero wherever it applies."""
    batch, count, rank = shifts.shape
    fields = shifts.view(batch, count, *[1] * rank, rank).expand(-1, -1, *small.shape[2:], -1)
    candidates = warp(small, fields, padding_mode="zeros")
    weight = logits.softmax(1)
    return candidates, warp(features, fields, weight=weight, mask=occlusion, padding_mode="zeros")


def inputs(pattern: str, device: str = "cpu", shrink: int = 1) -> tuple[Tensor, ...]:
    """For `with_torch` and `with_warp`; sizes can be divided."""
    (channels, *size), feature_channels, count = PATTERNS[pattern]
    space = [extent // shrink for extent in size]
    draw = torch.Generator().manual_seed(0)
    random = partial(torch.randn, generator=draw)
    shifts = 0.1 * random(1, count, len(space))
    shifts[:, 0] = 0  # the background stays
    occlusion = random(1, 1, *space[-2:]).sigmoid()
    if len(space) == 3:  # the same at every depth
        occlusion = occlusion.unsqueeze(2).expand(1, 1, *space)
    tensors = (
        random(1, channels, *space),
        random(1, feature_channels, *space),
        shifts,
        random(1, count, *space),
        occlusion,
    )
    return tuple(x.to(device) for x in tensors)


def best_times(steps: list[Callable[[], object]], device: str, rounds: int = 20) -> list[float]:
    """Milliseconds of each; in turns, since other work on the machine comes and goes."""
    best = [float("inf")] * len(steps)
    for round_ in range(rounds + 2):
        for i, step in enumerate(steps):
            start = time.perf_counter()
            step()
            if device != "cpu":
                torch.cuda.synchronize(device)
            if round_ >= 2:  # the first two warm up
                best[i] = min(best[i], time.perf_counter() - start)
    return [seconds * 1e3 for seconds in best]


def workspace(step: Callable[[], tuple[Tensor, ...]], device: str) -> float:
    """MiB that a first call takes at most, beyond its results."""
    if device == "cpu":

        def status(key: str) -> int:
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))

        Path("/proc/self/clear_refs").write_text("5")  # the peak from now on
        before = status("VmRSS")
        results = step()
        taken = status("VmHWM") - before
    else:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        results = step()
        taken = torch.cuda.max_memory_allocated(device) - before
    return (taken - sum(x.numel() * x.element_size() for x in results)) / 2**20


def workspace_alone(pattern: str, way: str, options: list[str]) -> float:
    """`workspace` in a process of its own, where no memory lies ready from an earlier call."""
    command = [sys.executable, __file__, *options, "--workspace", pattern, way]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workspace", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    ways = {"torch": with_torch, "warp": with_warp}
    if options.workspace:
        pattern, way = options.workspace
        given = inputs(pattern, options.device)
        ways[way](*inputs(pattern, options.device, shrink=8))  # loads what is loaded once
        print(workspace(lambda: ways[way](*given), options.device))
        return
    for pattern in PATTERNS:
        given = inputs(pattern, options.device)
        for ours, theirs in zip(with_warp(*given), with_torch(*given), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        steps = [partial(way, *given) for way in ways.values()]
        theirs, ours = best_times(steps, options.device)
        memory = [workspace_alone(pattern, way, arguments) for way in ways]
        print(
            f"{pattern}: torch {theirs:.2f} ms, {memory[0]:.1f} MiB; warp {ours:.2f} ms,"
            f" {memory[1]:.1f} MiB: {theirs / ours:.1f} times as fast,"
            f" {100 * memory[1] / memory[0]:.0f} % of the memory"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
