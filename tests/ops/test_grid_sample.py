"""What grid_sample means, held against F.grid_sample; test_battery.py has its kernels."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import mmap
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cases.grid_sample import EVERY_KIND, GRID_SAMPLE, IMAGE, VOLUME
from cases.op import SIMT, Arguments, Results, assert_close_enough, run, widened
from motion_lab import compat
from motion_lab.ops import _native, backends, grid_sample
from motion_lab.ops._native_grid_sample import MODES, PADDING_MODES

KINDS = [
    pytest.param(base, mode, padding, align, id=f"{len(base.sizes)}d-{mode}-{padding}-{align}")
    for base, mode, padding, align in itertools.product(
        (IMAGE, VOLUME), MODES, PADDING_MODES, (False, True)
    )
    if (base, mode) != (VOLUME, "bicubic")
]


# The CUDA kernels, on the CPU.
PROBLEM = SIMT.problem("grid_sample")
NEEDS_SIMT = [pytest.mark.simt, pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))]
KERNELS = ["native", pytest.param("simt", marks=NEEDS_SIMT)]


def by_torch(arguments: Arguments) -> Results:
    """F.grid_sample's result, and its gradients for the same gradient of the output."""
    return run(GRID_SAMPLE, arguments, "", call=lambda t, _: {"out": F.grid_sample(**t)})


@pytest.mark.parametrize("case", [name for name in EVERY_KIND if "last" not in name])
@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_is_torchs_own_in_float64(backend, case):
    arguments = EVERY_KIND[case].arguments(torch.float64)
    torch.testing.assert_close(run(GRID_SAMPLE, arguments, backend), by_torch(arguments))


@functools.cache
def torchs_own_samples() -> list[Arguments]:
    """Those of its table of operators, but for the largest."""
    from torch.testing._internal.common_methods_invocations import op_db

    found = []
    for entry in op_db:
        if entry.name not in ("nn.functional.grid_sample", "grid_sampler_2d", "grid_sampler_3d"):
            continue
        for sample in entry.sample_inputs("cpu", torch.float64, requires_grad=False):
            options = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": False}
            grid, *codes = sample.args
            if codes:
                mode, padding, align = codes
                options = {
                    "mode": MODES[mode],
                    "padding_mode": PADDING_MODES[padding],
                    "align_corners": align,
                }
            if sample.input.numel() < 20_000:
                found.append({"input": sample.input, "grid": grid, **options, **sample.kwargs})
    return found


@pytest.mark.parametrize("backend", [*KERNELS, "reference"])
def test_agrees_with_torch_on_torchs_own_samples(backend):
    samples = torchs_own_samples()
    assert len(samples) > 50
    for sample in samples:
        if backend != "simt":
            torch.testing.assert_close(run(GRID_SAMPLE, sample, backend), by_torch(sample))
        single = {k: x.float() if isinstance(x, Tensor) else x for k, x in sample.items()}
        assert_close_enough(
            run(GRID_SAMPLE, single, backend), by_torch(single), by_torch(widened(single))
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("base", [IMAGE, VOLUME], ids=["image", "volume"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("grid", ["wide", "own"])
@pytest.mark.parametrize("backend", ["native", "reference", "torch"])
def test_halves_differ_from_float32_by_their_rounding_only(backend, dtype, base, mode, grid):
    if (backend, grid) == ("torch", "own"):
        pytest.skip("torch computes positions in half precision")
    case = replace(base, channels=6, mode=mode, padding="border", spread=0.7, grid=grid)
    arguments = case.arguments(dtype)
    out = grid_sample(**arguments, backend=backend)
    assert out.dtype == dtype
    single = {k: x.float() if isinstance(x, Tensor) else x for k, x in arguments.items()}
    expected = F.grid_sample(**single)
    torch.testing.assert_close(out, expected.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-3)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_double_input_takes_a_float32_grid(backend):
    arguments = replace(IMAGE, grid="float32").arguments(torch.float64)
    found = run(GRID_SAMPLE, arguments, backend)
    expected = by_torch({**arguments, "grid": arguments["grid"].double()})
    torch.testing.assert_close(found, {**expected, "dgrid": expected["dgrid"].float()})


@pytest.mark.parametrize("backend", ["native", "reference", "torch"])
@pytest.mark.parametrize("base", [IMAGE, VOLUME], ids=["image", "volume"])
@pytest.mark.parametrize("channels", [3, 16])
def test_many_grids_are_as_many_calls(backend, base, channels):
    arguments = replace(base, channels=channels, fields=4).arguments(torch.float32)

    def one_by_one(t: Arguments, _: str) -> Results:
        grids = t["grid"].unbind(1)
        return {"out": torch.stack([F.grid_sample(**{**t, "grid": grid}) for grid in grids], 1)}

    found = run(GRID_SAMPLE, arguments, backend)
    assert found["out"].shape == (2, 4, channels, *base.out_sizes)
    expected = run(GRID_SAMPLE, arguments, "", call=one_by_one)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_channels_last_goes_through():
    found = replace(IMAGE, channels=16).arguments(torch.float32)
    input, grid = found["input"], found["grid"]
    out = grid_sample(input.to(memory_format=torch.channels_last), grid)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert grid_sample(input, grid).is_contiguous()


# Not the backward: torch 2.13's own crashes on some of these.
@pytest.mark.parametrize("backend", [*KERNELS, "reference"])
@pytest.mark.parametrize(("base", "mode", "padding", "align"), KINDS)
def test_coordinates_that_are_not_finite_sample_what_torch_samples(
    backend, base, mode, padding, align
):
    case = replace(base, batch=1, channels=4, mode=mode, padding=padding, align=align)
    arguments = case.arguments(torch.float32)
    rank = len(base.sizes)
    for value, axis in itertools.product((math.nan, math.inf, -math.inf), range(rank)):
        arguments["grid"] = torch.full((1, *[1] * rank, rank), 0.1)
        arguments["grid"][..., axis] = value
        found, expected = grid_sample(**arguments, backend=backend), F.grid_sample(**arguments)
        torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("backend", KERNELS)
@pytest.mark.parametrize(("base", "mode", "padding", "align"), KINDS)
def test_gradients_survive_coordinates_that_are_not_finite(backend, base, mode, padding, align):
    case = replace(base, channels=4, mode=mode, padding=padding, align=align)
    arguments = case.arguments(torch.float32)
    flat = arguments["grid"].view(-1)
    flat[::7], flat[1::7], flat[2::7], flat[3::7] = math.nan, math.inf, -math.inf, 3e9
    found = run(GRID_SAMPLE, arguments, backend)
    assert all(found[f"d{key}"].shape == arguments[key].shape for key in ("input", "grid"))
    if mode != "bicubic" and padding != "zeros":
        assert all(x.isfinite().all() for x in found.values())


@pytest.mark.parametrize("backend", KERNELS)
@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_borders_and_half_cells(backend, mode, padding, align):
    """Coordinates exactly on centres, borders and between cells, and far outside.

    Sizes that are powers of two make float32 exact: what is nearest is no matter of rounding.
    """
    case = replace(IMAGE, channels=3, batch=1, sizes=(5, 9) if align else (4, 8))
    input = case.arguments(torch.float32)["input"]
    points = torch.tensor(
        [-1e6, -9, -3, -2, -1.5, -1, -0.75, -0.5, 0, 0.25, 0.5, 1, 1.25, 2, 5, 1e6]
    )
    grid = torch.stack(torch.meshgrid(points, points, indexing="xy"), dim=-1)[None]
    options = (mode, padding, align)
    found = grid_sample(input, grid, *options, backend=backend)
    torch.testing.assert_close(found, F.grid_sample(input, grid, *options), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", [*KERNELS, "reference"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [3, 16])
def test_infinite_features_outside_the_taps_do_not_leak(backend, layout, channels):
    input = torch.tensor([0.0, 0.0, math.inf]).expand(1, channels, 1, 3)
    input = input.contiguous(memory_format=layout)
    grid = torch.tensor([[[[-2 / 3, 0.0], [-1.0, 0.0], [5.0, 0.0]]]])
    out = grid_sample(input, grid, backend=backend)
    assert torch.equal(out, torch.zeros(1, channels, 1, 3))
    edge = grid_sample(input, grid[:, :, 2:], padding_mode="border", backend=backend)
    assert torch.equal(edge, torch.full((1, channels, 1, 1), math.inf))


@pytest.mark.parametrize("backend", [*KERNELS, "reference"])
@pytest.mark.parametrize("channels", [3, 16])
def test_a_line_of_cells_does_not_go_on_in_the_next(backend, channels):
    lines = torch.tensor([[0.0, 0.0, 100.0], [1.0, 0.0, 4.0], [100.0, 0.0, 0.0]])
    input = lines.expand(1, channels, 3, 3).contiguous()
    half_outside = torch.tensor([[[[-1.0, 0.0], [1.0, 0.0]]]])  # of the middle line
    out = grid_sample(input, half_outside, backend=backend)
    assert torch.equal(out, torch.tensor([0.5, 2.0]).expand(1, channels, 1, 2))


@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 5), (4, 1), (1, 1, 1), (3, 1, 2)])
def test_axes_of_one_cell(sizes, padding, align):
    base = IMAGE if len(sizes) == 2 else VOLUME
    arguments = replace(base, sizes=sizes, padding=padding, align=align).arguments(torch.float64)
    torch.testing.assert_close(run(GRID_SAMPLE, arguments, "reference"), by_torch(arguments))


def reserved(count: int, dtype: torch.dtype) -> Tensor:
    """Zeros that take no memory until they are touched."""
    without_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | without_reserve
    return torch.frombuffer(mmap.mmap(-1, count * dtype.itemsize, flags=flags), dtype=dtype)


def far_apart(x: Tensor, dim: int) -> Tensor:
    """The same numbers, in that dimension more than 2³¹ elements from one to the next."""
    strides = list(x.contiguous().stride())
    strides[dim] = 2**31 + 64
    extent = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, strides, strict=True))
    return reserved(extent, x.dtype).as_strided(x.shape, strides).copy_(x)


@pytest.mark.parametrize("backend", KERNELS)
@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("base", [IMAGE, VOLUME], ids=["image", "volume"])
def test_strides_may_pass_two_to_the_31st(backend, dim, base):
    arguments = replace(base, channels=2).arguments(torch.bfloat16)
    into = [torch.randn_like(grid_sample(**arguments))]
    expected = run(GRID_SAMPLE, arguments, backend, into=into)
    arguments["input"] = far_apart(arguments["input"], dim)
    arguments["grid"] = far_apart(arguments["grid"], dim)
    found = run(GRID_SAMPLE, arguments, backend, into=[far_apart(into[0], dim)])
    torch.testing.assert_close(found, expected)


def test_a_channel_may_have_more_than_two_to_the_31st_cells():
    size = 46_400
    input = reserved(4 * size * size, torch.float32).view(1, size, size, 4).permute(0, 3, 1, 2)
    points = torch.tensor([[0, 0], [size - 1, size - 1], [7, size - 2], [size // 2, 30_000]])
    values = torch.arange(16.0).view(4, 4) + 1
    input[0, :, points[:, 1], points[:, 0]] = values
    grid = ((points.double() + 0.5) * 2 / size - 1).float().view(1, 1, 4, 2)
    assert torch.equal(grid_sample(input, grid, "nearest")[0, :, 0], values)


def test_a_channel_may_have_more_cells_than_the_kernels_count():
    input = torch.ones(1, 1, 1, 1).expand(1, 1, 70_000, 70_000)
    grid = torch.tensor([[[[-0.999, 0.999], [0.5, 0.5], [3.0, 0.0]]]], requires_grad=True)
    out = grid_sample(input, grid)
    assert out.flatten().tolist() == [1, 1, 0]
    (gradient,) = torch.autograd.grad(out.sum(), grid)
    assert torch.equal(gradient, torch.zeros_like(grid))


EMPTY = {
    "no batch": ((0, 3, 4, 4), (0, 2, 2, 2), (0, 3, 2, 2)),
    "no channels": ((2, 0, 4, 4), (2, 2, 2, 2), (2, 0, 2, 2)),
    "no rows": ((2, 3, 4, 4), (2, 0, 2, 2), (2, 3, 0, 2)),
    "no rows of a volume": ((2, 3, 2, 4, 4), (2, 1, 0, 2, 3), (2, 3, 1, 0, 2)),
    "no grids": ((2, 3, 4, 4), (2, 0, 2, 2, 2), (2, 0, 3, 2, 2)),
}


@pytest.mark.parametrize("shapes", EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("backend", ["native", "reference", "torch"])
def test_empty_tensors(shapes, backend):
    input, grid = (torch.ones(shape, requires_grad=True) for shape in shapes[:2])
    out = grid_sample(input, grid, backend=backend)
    assert out.shape == shapes[2]
    for gradient in torch.autograd.grad(out.sum(), (input, grid)):
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_autocast_treats_it_as_it_treats_torchs(dtype):
    arguments = replace(IMAGE, channels=3, grid="own").arguments(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = grid_sample(**arguments), F.grid_sample(**arguments)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_drop_in_takes_what_torch_takes():
    ours, torchs = (inspect.signature(f).parameters for f in (compat.grid_sample, F.grid_sample))
    assert list(ours) == list(torchs)
    assert {k: v.default for k, v in ours.items()} == {k: v.default for k, v in torchs.items()}
    found = IMAGE.arguments(torch.float32)
    input, grid = found["input"], found["grid"]
    torch.testing.assert_close(
        compat.grid_sample(input, grid, padding_mode="border", align_corners=True),
        F.grid_sample(input, grid, padding_mode="border", align_corners=True),
    )
    torch.testing.assert_close(compat.grid_sample(input, grid), grid_sample(input, grid))


INPUT, GRID = torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 5, 2)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("image", GRID), TypeError, "input must be a tensor, got str"),
        ((INPUT, None), TypeError, "grid must be a tensor, got NoneType"),
        ((INPUT.long(), GRID), TypeError, "input must be one of .* got int64"),
        ((INPUT, GRID.double()), TypeError, "grid must be one of float32.* got float64"),
        ((INPUT, GRID.half()), TypeError, "grid must be one of float32.* got float16"),
        ((INPUT[0], GRID), ValueError, r"input must have 4 dimensions .* got shape \(3, 4, 4\)"),
        ((INPUT, GRID[0]), ValueError, r"grid must have 4 dimensions, or 5 .* \(5, 5, 2\)"),
        ((INPUT, GRID[..., :1]), ValueError, "2 coordinates"),
        ((INPUT[:, :, None], GRID[:, None]), ValueError, "3 coordinates"),
        ((INPUT, GRID[:1]), ValueError, "grid must have input's batch size 2, got 1"),
        ((INPUT[..., :0], GRID), ValueError, "must not be empty in space"),
        ((INPUT, GRID, "linear"), ValueError, "mode must be one of .* got 'linear'"),
        ((INPUT, GRID, "nearest", "wrap"), ValueError, "padding_mode must be one of .* got 'wrap'"),
        (
            (INPUT[:, :, None], torch.zeros(2, 1, 5, 5, 3), "bicubic"),
            ValueError,
            "'bicubic' takes images",
        ),
        ((INPUT, GRID.to("meta")), ValueError, "grid must be on cpu, got meta"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=f"grid_sample: .*{words}"):
        grid_sample(*arguments)


def test_backends_are_listed_and_an_unknown_one_is_refused():
    expected = ["native", "torch", "reference", "native_atomic", "simt"]
    assert list(backends("grid_sample")) == expected
    with pytest.raises(ValueError, match="no backend 'cudnn'"):
        grid_sample(INPUT, GRID, backend="cudnn")


@pytest.mark.simt
@pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))
@pytest.mark.parametrize("case", [name for name in EVERY_KIND if "2d" in name or "linear" in name])
def test_by_atomics_the_gradient_is_the_same_up_to_rounding(case):
    arguments = EVERY_KIND[case].arguments(torch.bfloat16)
    options = (MODES.index(arguments["mode"]), PADDING_MODES.index(arguments["padding_mode"]))
    inputs = arguments["input"], arguments["grid"], None, None, False, *options
    out = torch.ops.motion_lab_simt.grid_sample(*inputs, arguments["align_corners"])
    inputs = out, *inputs, arguments["align_corners"], [True, False, False, False]
    found, expected = (
        torch.ops.motion_lab_simt.grid_sample_backward(*inputs, atomic)[0]
        for atomic in (True, False)
    )
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.simt
@pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))
def test_lists_come_in_the_order_of_the_points_however_they_arrive():
    """What makes the gradient the same at every run, though places in the lists are by chance."""
    draw = torch.Generator().manual_seed(0)
    items, points, keys = 2, 300, 7
    key = torch.randint(-1, keys, (items, points), generator=draw)
    wanted = [
        [p for p in range(points) if key[item, p] == k]
        for item in range(items)
        for k in range(keys)
    ]
    counts = torch.tensor([0, *map(len, wanted)], dtype=torch.int32)
    slots = torch.zeros(items, points, dtype=torch.int32)
    for item, k in itertools.product(range(items), range(keys)):
        there = key[item] == k
        slots[item, there] = torch.randperm(int(there.sum()), generator=draw).int()
    key = torch.where(key < 0, key, key + keys * torch.arange(items).unsqueeze(1)).flatten()
    loads = torch.randn(items * points, 4, generator=draw)
    arrived, ordered = torch.zeros(2, items * points, dtype=torch.int32)
    ordered_loads = torch.zeros_like(loads)
    starts = counts.cumsum(0)
    crowds = torch.zeros(1, dtype=torch.int64)
    lists = (key, slots.flatten(), loads, counts, starts, arrived, ordered, ordered_loads, crowds)
    _native.simt().grid_sample_order([*map(_native.pack, lists)], items, 0, 0)
    flat = [p for of_key in wanted for p in of_key]
    assert ordered[: len(flat)].tolist() == flat
    assert arrived[: len(flat)].tolist() != flat
    item = torch.arange(items * keys).repeat_interleave(counts[1:]) // keys
    assert torch.equal(ordered_loads[: len(flat)], loads[item * points + torch.tensor(flat)])
