"""What grid_sample means, held against F.grid_sample; test_battery.py has its kernels."""

from __future__ import annotations

import inspect
import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cases.grid_sample import EVERY_KIND, GRID_SAMPLE, IMAGE, VOLUME
from cases.op import Arguments, Results, run
from motion_lab import compat
from motion_lab.ops import backends, grid_sample
from motion_lab.ops._native_grid_sample import MODES, PADDING_MODES

KINDS = [
    pytest.param(base, mode, padding, align, id=f"{len(base.sizes)}d-{mode}-{padding}-{align}")
    for base, mode, padding, align in itertools.product(
        (IMAGE, VOLUME), MODES, PADDING_MODES, (False, True)
    )
    if (base, mode) != (VOLUME, "bicubic")
]


def by_torch(arguments: Arguments) -> Results:
    """F.grid_sample's result, and its gradients for the same gradient of the output."""
    return run(GRID_SAMPLE, arguments, "", call=lambda t, _: {"out": F.grid_sample(**t)})


@pytest.mark.parametrize("case", [name for name in EVERY_KIND if "last" not in name])
@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_is_torchs_own_in_float64(backend, case):
    arguments = EVERY_KIND[case].arguments(torch.float64)
    torch.testing.assert_close(run(GRID_SAMPLE, arguments, backend), by_torch(arguments))


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
@pytest.mark.parametrize("backend", ["native", "reference"])
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


@pytest.mark.parametrize(("base", "mode", "padding", "align"), KINDS)
def test_gradients_survive_coordinates_that_are_not_finite(base, mode, padding, align):
    case = replace(base, channels=4, mode=mode, padding=padding, align=align)
    arguments = case.arguments(torch.float32)
    flat = arguments["grid"].view(-1)
    flat[::7], flat[1::7], flat[2::7], flat[3::7] = math.nan, math.inf, -math.inf, 3e9
    found = run(GRID_SAMPLE, arguments, "native")
    assert all(found[f"d{key}"].shape == arguments[key].shape for key in ("input", "grid"))
    if mode != "bicubic" and padding != "zeros":
        assert all(x.isfinite().all() for x in found.values())


@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_borders_and_half_cells(mode, padding, align):
    """Coordinates exactly on centres, borders and between cells, and far outside."""
    input = replace(IMAGE, channels=3, batch=1).arguments(torch.float64)["input"]
    points = torch.tensor(
        [-1e6, -9, -3, -2, -1.5, -1, -0.75, -0.5, 0, 0.25, 0.5, 1, 1.25, 2, 5, 1e6],
        dtype=torch.float64,
    )
    grid = torch.stack(torch.meshgrid(points, points, indexing="xy"), dim=-1)[None]
    options = (mode, padding, align)
    found, expected = grid_sample(input, grid, *options), F.grid_sample(input, grid, *options)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_infinite_features_outside_the_taps_do_not_leak(backend, layout):
    input = torch.tensor([0.0, 0.0, math.inf]).expand(1, 16, 1, 3)
    input = input.contiguous(memory_format=layout)
    grid = torch.tensor([[[[-2 / 3, 0.0], [-1.0, 0.0], [5.0, 0.0]]]])
    out = grid_sample(input, grid, backend=backend)
    assert torch.equal(out, torch.zeros(1, 16, 1, 3))
    edge = grid_sample(input, grid[:, :, 2:], padding_mode="border", backend=backend)
    assert torch.equal(edge, torch.full((1, 16, 1, 1), math.inf))


@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 5), (4, 1), (1, 1, 1), (3, 1, 2)])
def test_axes_of_one_cell(sizes, padding, align):
    base = IMAGE if len(sizes) == 2 else VOLUME
    arguments = replace(base, sizes=sizes, padding=padding, align=align).arguments(torch.float64)
    torch.testing.assert_close(run(GRID_SAMPLE, arguments, "reference"), by_torch(arguments))


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
    assert list(backends("grid_sample")) == ["native", "torch", "reference"]
    with pytest.raises(ValueError, match="no backend 'cudnn'"):
        grid_sample(INPUT, GRID, backend="cudnn")
