"""Cases of `grid_sample` and `warp`: sizes of published models, and those of our preset `small`.

LivePortrait and first-order models (FOMM): docs/benchmarks.md says where the sizes come from.
Sampling points keep away from whole cells: there the gradient jumps, and two right results differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness.case import (
    BOTH,
    Case,
    Contender,
    Inputs,
    Op,
    Output,
    Work,
    native,
    random_tensors,
    size_in_memory,
)
from motion_lab.ops import grid_sample, warp

_REACH = 3  # cells that a point is moved at most


def _shifts(shape: Sequence[int], axes: int, device: torch.device) -> Tensor:
    """Shifts (*shape, axes) in cells, whole numbers plus 0.1 to 0.9."""
    generator = torch.Generator().manual_seed(2)
    whole = torch.randint(-_REACH, _REACH, (*shape, axes), generator=generator)
    return (whole + 0.1 + 0.8 * torch.rand(whole.shape, generator=generator)).to(device)


def _cells(sizes: Sequence[int], device: torch.device) -> Tensor:
    """The index of each cell of a space (*sizes), x first: (*sizes, len(sizes))."""
    axes = [torch.arange(size, device=device, dtype=torch.float32) for size in sizes]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)


def _scale(sizes: Sequence[int], device: torch.device) -> Tensor:
    """Normalised units a cell, x first."""
    return 2 / torch.tensor(sizes[::-1], device=device, dtype=torch.float32)


def _sample_case(
    name: str,
    input_shape: Sequence[int],
    fields: int = 0,
    *,
    last: bool = False,
    quick: bool = False,
) -> Case:
    """Sampling at as many points as the input has cells, or ``fields`` times as many."""
    batch, _, *sizes = input_shape

    def make(device: torch.device) -> Inputs:
        x = random_tensors(device)(*input_shape)
        if last:
            x = x.to(memory_format=torch.channels_last)
        shape = (batch, *([fields] if fields else []), *sizes)
        points = _cells(sizes, device) + _shifts(shape, len(sizes), device)
        return {"input": x, "grid": (points + 0.5) * _scale(sizes, device) - 1}

    peers = (Contender("torch_copies", _torch_copies),) if fields else ()
    return Case(name, make, sample_work, quick, peers=peers)


def _warp_case(
    name: str,
    input_shape: Sequence[int],
    fields: int = 0,
    *,
    shared: bool = False,
    quick: bool = False,
) -> Case:
    """A warp by one displacement field, or by the weighted sum of ``fields`` and times a mask.

    ``shared``: one input for the whole batch, as when frames are drawn from one portrait.
    """
    batch, channels, *sizes = input_shape

    def make(device: torch.device) -> Inputs:
        random = random_tensors(device)
        x = random(1 if shared else batch, channels, *sizes).expand(*input_shape)
        shift = _shifts((batch, *sizes), len(sizes), device)
        inputs: Inputs = {"input": x}
        if fields:
            weight = random(batch, fields, *sizes).softmax(1)
            noise = random(batch, fields, *sizes, len(sizes))
            # Noise whose weighted sum is nothing, so that the sum of the fields is the shift.
            noise = noise - (noise * weight.unsqueeze(-1)).sum(1, keepdim=True)
            mask = random(batch, 1, *sizes[-2:]).sigmoid()
            if len(sizes) == 3:
                mask = mask.unsqueeze(2).expand(batch, 1, *sizes)
            shift = shift.unsqueeze(1) + noise
            inputs |= {"weight": weight, "mask": mask}
        return inputs | {"displacement": shift * _scale(sizes, device)}

    return Case(name, make, warp_work, quick)


def sample_work(inputs: Inputs, passes: str) -> Work:
    """The formula of sampling P points of C channels with T taps (4 in images, 8 in volumes).

    Forward: reads input and grid, writes the output; 2 T C flops a point. Backward: reads both and
    the output's gradient, writes theirs; 2 T C flops a point for the input's and 2 T C for the
    grid's.
    """
    return _work(inputs, inputs["grid"], passes, 0)


def warp_work(inputs: Inputs, passes: str) -> Work:
    """As `sample_work`, with displacement, weight and mask for the grid.

    The weighted sum of K fields adds 2 K flops a point and axis to the forward and 4 K to the
    backward, which computes it again for the positions.
    """
    fields = inputs["weight"].shape[1] if "weight" in inputs else 0
    points = inputs["displacement"]
    return _work(inputs, points[:, 0] if fields else points, passes, fields)


def _work(inputs: Inputs, points: Tensor, passes: str, fields: int) -> Work:
    x = inputs["input"]
    rank = x.ndim - 2
    count = points.numel() // rank
    taps = 2**rank * x.shape[1] * count
    operands = size_in_memory(*(v for v in inputs.values() if isinstance(v, Tensor)))
    output = count * x.shape[1] * x.element_size()
    forward = Work(operands + output, 2 * taps + 2 * fields * rank * count, 0)
    if passes != BOTH:
        return forward
    gradients = sum(v.numel() * v.element_size() for v in inputs.values() if isinstance(v, Tensor))
    return Work(
        bytes=operands + output + operands + output + gradients,
        flops=2 * taps + 4 * taps + 6 * fields * rank * count,
        exps=0,
    )


def _torch(inputs: Inputs) -> Callable[[], Output]:
    """F.grid_sample; K grids of one input are laid one after another, which copies nothing."""
    return lambda: grid_sample(**inputs, backend="torch")


def _torch_copies(inputs: Inputs) -> Callable[[], Output]:
    """F.grid_sample with the input repeated for each of K grids, as the published models do."""
    x, grid = inputs["input"], inputs["grid"]

    def call() -> Tensor:
        fields = grid.shape[1]
        copies = x.unsqueeze(1).repeat(1, fields, *[1] * (x.ndim - 1)).flatten(0, 1)
        sampled = F.grid_sample(copies, grid.flatten(0, 1), align_corners=False)
        return sampled.unflatten(0, (-1, fields))

    return call


SAMPLE = Op(
    "grid_sample",
    (
        _sample_case("liveportrait-volume", (1, 32, 16, 64, 64), quick=True),
        _sample_case("liveportrait-volume-b4", (4, 32, 16, 64, 64)),
        _sample_case("liveportrait-22-grids", (1, 4, 16, 64, 64), 22, quick=True),
        _sample_case("fomm-11-grids", (1, 3, 64, 64), 11),
        _sample_case("fomm-features", (4, 256, 64, 64)),
        _sample_case("fomm-features-last", (4, 256, 64, 64), last=True),
        _sample_case("features-128", (4, 64, 128, 128), quick=True),
        _sample_case("features-128-last", (4, 64, 128, 128), last=True),
        _sample_case("image-512", (1, 3, 512, 512), quick=True),
    ),
    native("grid_sample", grid_sample),
    lambda inputs: grid_sample(**inputs, backend="reference"),
    (Contender("torch", _torch),),
)

WARP = Op(
    "warp",
    (
        _warp_case("liveportrait-22-fields", (1, 32, 16, 64, 64), 22, quick=True),
        _warp_case("liveportrait-volume", (1, 32, 16, 64, 64)),
        _warp_case("fomm-11-fields", (1, 256, 64, 64), 11, quick=True),
        _warp_case("small-volume", (4, 16, 4, 32, 32), shared=True, quick=True),
        _warp_case("small-quarter", (4, 64, 32, 32), shared=True),
        _warp_case("small-half", (4, 32, 64, 64), shared=True),
        _warp_case("small-full", (4, 16, 128, 128), shared=True),
        _warp_case("small-image", (4, 3, 256, 256), shared=True, quick=True),
    ),
    native("warp", warp),
    lambda inputs: warp(**inputs, backend="reference"),
    (Contender("torch", lambda inputs: lambda: warp(**inputs, backend="torch")),),
)

OPS = (SAMPLE, WARP)
