"""grid_sample: every backend against F.grid_sample, forward and backward, in all its options."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motion_lab import compat
from motion_lab.ops import _native, backends, grid_sample, use_backend

PADDINGS = ("zeros", "border", "reflection")
KINDS = [
    pytest.param(rank, mode, padding, align, id=f"{rank}d-{mode}-{padding}-{align}")
    for rank in (2, 3)
    for mode in ("bilinear", "nearest", "bicubic")
    for padding in PADDINGS
    for align in (False, True)
    if (rank, mode) != (3, "bicubic")
]
SIZES = {2: (6, 9), 3: (4, 5, 6)}
OUT_SIZES = {2: (7, 13), 3: (3, 5, 7)}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def problem(
    rank: int, channels: int = 5, batch: int = 2, dtype: torch.dtype = torch.float32, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """An input and a grid of which about a third lies outside."""
    draw = torch.Generator().manual_seed(seed)
    input = torch.randn(batch, channels, *SIZES[rank], generator=draw, dtype=torch.float64)
    grid = torch.randn(batch, *OUT_SIZES[rank], rank, generator=draw, dtype=torch.float64)
    return input.to(dtype), grid.to(torch.float64 if dtype == torch.float64 else torch.float32)


def with_gradients(function, input: Tensor, grid: Tensor, *options) -> list[Tensor]:
    """The output and, for one fixed gradient of it, the gradients of input and grid."""
    input, grid = (x.detach().requires_grad_() for x in (input, grid))
    out = function(input, grid, *options)
    draw = torch.Generator().manual_seed(99)
    grad = torch.randn(out.shape, generator=draw, dtype=torch.float64).to(out.dtype)
    return [out, *torch.autograd.grad(out, (input, grid), grad)]


def assert_as_exact_as_torch(ours: list[Tensor], torchs: list[Tensor], exact: list[Tensor]) -> None:
    for name, a, b, truth in zip(("output", "input", "grid"), ours, torchs, exact, strict=True):
        assert a.shape == truth.shape
        error, allowed = (a - truth).abs().max(), 2 * (b - truth).abs().max()
        assert error <= allowed + 1e-6 * (1 + truth.abs().max()), name


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    module = _native.cpu()
    before = module.isa()
    try:
        module.set_isa(request.param)
    except ValueError:
        pytest.skip(f"this machine has no {request.param}")
    yield request.param
    module.set_isa(before)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("rank", "mode", "padding", "align"), KINDS)
def test_native_is_as_exact_as_torch(rank, mode, padding, align, channels_last):
    options = (mode, padding, align)
    for channels in (1, 3, 16, 21):
        input, grid = problem(rank, channels)
        if channels_last:
            input = input.contiguous(memory_format=CHANNELS_LAST[rank])
        assert_as_exact_as_torch(
            with_gradients(grid_sample, input, grid, *options),
            with_gradients(F.grid_sample, input, grid, *options),
            with_gradients(F.grid_sample, input.double(), grid.double(), *options),
        )


@pytest.mark.parametrize(("rank", "mode", "padding", "align"), KINDS)
@pytest.mark.parametrize("backend", ["native", "reference", "torch"])
def test_every_backend_equals_torch_in_float64(backend, rank, mode, padding, align):
    input, grid = problem(rank, dtype=torch.float64)

    def ours(input: Tensor, grid: Tensor) -> Tensor:
        return grid_sample(input, grid, mode, padding, align, backend=backend)

    if (backend, mode) == ("reference", "nearest"):  # nothing to differentiate by the grid
        torch.testing.assert_close(
            ours(input, grid), F.grid_sample(input, grid, mode, padding, align)
        )
        return
    expected = with_gradients(F.grid_sample, input, grid, mode, padding, align)
    torch.testing.assert_close(with_gradients(ours, input, grid), expected)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [3, 32])
def test_every_instruction_set_gives_the_same(isa, mode, channels):
    input, grid = problem(2, channels)
    truth = with_gradients(F.grid_sample, input.double(), grid.double(), mode, "border", False)
    ours = with_gradients(grid_sample, input, grid, mode, "border", False)
    for a, b in zip(ours, truth, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("half_grid", [False, True])
@pytest.mark.parametrize("backend", ["native", "reference", "torch"])
def test_halves_differ_from_float32_by_their_rounding_only(backend, dtype, rank, mode, half_grid):
    input, grid = problem(rank, 6, dtype=dtype)
    grid = (grid * 0.7).to(dtype if half_grid else torch.float32)
    options = (mode, "border", False)
    if backend == "torch" and half_grid:
        pytest.skip("torch computes positions in half precision")
    expected = F.grid_sample(input.float(), grid.float(), *options)
    out = grid_sample(input, grid, *options, backend=backend)
    assert out.dtype == dtype
    torch.testing.assert_close(out, expected.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-3)
    if backend != "native":
        return
    ours = with_gradients(grid_sample, input, grid, *options)
    # Round the output's gradient alike on both sides.
    wide_input, wide_grid = (x.float().requires_grad_() for x in (input, grid))
    wide = F.grid_sample(wide_input, wide_grid, *options)
    grad = torch.randn(
        wide.shape, generator=torch.Generator().manual_seed(99), dtype=torch.float64
    ).to(dtype)
    truth = torch.autograd.grad(wide, (wide_input, wide_grid), grad.float())
    for a, b, x in zip(ours[1:], truth, (input, grid), strict=True):
        assert a.dtype == x.dtype
        torch.testing.assert_close(a, b.to(x.dtype), rtol=torch.finfo(dtype).eps, atol=2e-3)


def test_double_input_takes_a_float32_grid():
    input, grid = problem(2, dtype=torch.float64)
    expected = with_gradients(
        F.grid_sample, input, grid.float().double(), "bilinear", "zeros", False
    )
    ours = with_gradients(grid_sample, input, grid.float())
    assert [x.dtype for x in ours] == [torch.float64, torch.float64, torch.float32]
    torch.testing.assert_close(ours, [*expected[:2], expected[2].float()])


@pytest.mark.parametrize("backend", ["native", "reference", "torch"])
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("channels", [3, 16])
def test_many_grids_are_as_many_calls(backend, rank, channels):
    input, _ = problem(rank, channels)
    draw = torch.Generator().manual_seed(3)
    grids = torch.randn(2, 4, *OUT_SIZES[rank], rank, generator=draw)

    def together(input: Tensor, grids: Tensor) -> Tensor:
        return grid_sample(input, grids, backend=backend)

    def one_by_one(input: Tensor, grids: Tensor) -> Tensor:
        each = [F.grid_sample(input, grid, align_corners=False) for grid in grids.unbind(1)]
        return torch.stack(each, dim=1)

    ours = with_gradients(together, input, grids)
    assert ours[0].shape == (2, 4, channels, *OUT_SIZES[rank])
    torch.testing.assert_close(ours, with_gradients(one_by_one, input, grids), rtol=1e-4, atol=1e-4)


def strided(x: Tensor, kind: str) -> Tensor:
    """The same numbers at other strides."""
    if kind == "a slice":
        wide = torch.full((*x.shape[:-1], 2 * x.shape[-1] + 1), math.nan, dtype=x.dtype)
        wide[..., 1::2] = x
        return wide[..., 1::2]
    if kind == "transposed":
        return x.transpose(-1, -2).contiguous().transpose(-1, -2)
    if kind == "batch inside":
        return x.movedim(0, -1).contiguous().movedim(-1, 0)
    if kind == "part of the channels":
        wide = torch.full((x.shape[0], x.shape[1] + 3, *x.shape[2:]), math.nan, dtype=x.dtype)
        wide = wide.to(memory_format=CHANNELS_LAST[x.ndim - 2]) if x.ndim in (4, 5) else wide
        wide[:, 2:-1] = x
        return wide[:, 2:-1]
    return x


STRIDES = ("a slice", "transposed", "batch inside", "part of the channels")


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("kind", STRIDES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_strides_change_nothing(rank, kind, dtype):
    for channels in (3, 16):
        input, grid = problem(rank, channels, dtype=dtype)
        plain = with_gradients(grid_sample, input, grid)
        for a, b in itertools.product(*([x, strided(x, kind)] for x in (input, grid))):
            for x, y in zip(with_gradients(grid_sample, a, b), plain, strict=True):
                assert torch.equal(x, y)


def test_an_expanded_gradient_and_an_expanded_input_count_once_per_use():
    input, grid = problem(2, 16)
    one, grid = input[:1].requires_grad_(), grid.requires_grad_()
    ours = torch.autograd.grad(grid_sample(one.expand(2, -1, -1, -1), grid).sum(), (one, grid))
    expected = torch.autograd.grad(
        F.grid_sample(one.expand(2, -1, -1, -1), grid, align_corners=False).sum(), (one, grid)
    )
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_channels_last_goes_through():
    input, grid = problem(2, 16)
    out = grid_sample(input.to(memory_format=torch.channels_last), grid)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert grid_sample(input, grid).is_contiguous()


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("shape", [(1, 3, 40, 30), (3, 40, 20, 20), (1, 16, 5, 12, 14)])
def test_five_runs_are_equal_and_threads_change_only_rounding(threads, shape):
    draw = torch.Generator().manual_seed(5)
    input = torch.randn(*shape, generator=draw)
    grid = torch.randn(shape[0], *shape[2:], len(shape) - 2, generator=draw)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = with_gradients(grid_sample, input, grid, "bilinear", "border")
        torch.set_num_threads(threads)
        runs = [with_gradients(grid_sample, input, grid, "bilinear", "border") for _ in range(5)]
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(map(torch.equal, run, runs[0]))
    torch.testing.assert_close(runs[0], alone, rtol=1e-4, atol=1e-4)


def test_outputs_and_gradients_are_written_whole():
    # Fills what torch.empty returns with NaN.
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(1).isnan().all()
        for rank, channels in ((2, 3), (2, 16), (3, 21)):
            input, grid = problem(rank, channels)
            for last in (False, True):
                x = input.contiguous(memory_format=CHANNELS_LAST[rank]) if last else input
                assert all(y.isfinite().all() for y in with_gradients(grid_sample, x, grid))
    finally:
        torch.use_deterministic_algorithms(False)


# Not the backward: torch 2.13's own crashes on some of these.
@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(("rank", "mode", "padding", "align"), KINDS)
def test_coordinates_that_are_not_finite_sample_what_torch_samples(
    backend, rank, mode, padding, align
):
    input, _ = problem(rank, 4, batch=1)
    for value in (math.nan, math.inf, -math.inf):
        for axis in range(rank):
            grid = torch.full((1, *[1] * rank, rank), 0.1)
            grid[..., axis] = value
            torch.testing.assert_close(
                grid_sample(input, grid, mode, padding, align, backend=backend),
                F.grid_sample(input, grid, mode, padding, align),
                equal_nan=True,
            )


@pytest.mark.parametrize(("rank", "mode", "padding", "align"), KINDS)
def test_gradients_survive_coordinates_that_are_not_finite(rank, mode, padding, align):
    input, grid = problem(rank, 4)
    flat = grid.view(-1)
    flat[::7], flat[1::7], flat[2::7], flat[3::7] = math.nan, math.inf, -math.inf, 3e9
    shapes = [x.shape for x in with_gradients(grid_sample, input, grid, mode, padding, align)[1:]]
    assert shapes == [input.shape, grid.shape]
    if mode != "bicubic" and padding != "zeros":
        out, *gradients = with_gradients(grid_sample, input, grid, mode, padding, align)
        assert all(x.isfinite().all() for x in (out, *gradients))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_borders_and_half_cells(mode, padding, align):
    """Coordinates exactly on centres, borders and between cells, and far outside."""
    input, _ = problem(2, 3, batch=1, dtype=torch.float64)
    points = torch.tensor(
        [-1e6, -9, -3, -2, -1.5, -1, -0.75, -0.5, 0, 0.25, 0.5, 1, 1.25, 2, 5, 1e6],
        dtype=torch.float64,
    )
    grid = torch.stack(torch.meshgrid(points, points, indexing="xy"), dim=-1)[None]
    ours = with_gradients(grid_sample, input, grid, mode, padding, align)
    expected = with_gradients(F.grid_sample, input, grid, mode, padding, align)
    torch.testing.assert_close(ours[0], expected[0], rtol=1e-6, atol=1e-6)


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


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 5), (4, 1), (1, 1, 1), (3, 1, 2)])
def test_axes_of_one_cell(sizes, padding, align):
    draw = torch.Generator().manual_seed(2)
    rank = len(sizes)
    input = torch.randn(2, 3, *sizes, generator=draw, dtype=torch.float64)
    grid = torch.randn(2, *OUT_SIZES[rank], rank, generator=draw, dtype=torch.float64)
    torch.testing.assert_close(
        with_gradients(grid_sample, input, grid, "bilinear", padding, align),
        with_gradients(F.grid_sample, input, grid, "bilinear", padding, align),
    )


@pytest.mark.parametrize(
    ("input_shape", "grid_shape"),
    [
        ((0, 3, 4, 4), (0, 2, 2, 2)),
        ((2, 0, 4, 4), (2, 2, 2, 2)),
        ((2, 3, 4, 4), (2, 0, 2, 2)),
        ((2, 3, 2, 4, 4), (2, 1, 0, 2, 3)),
        ((2, 3, 4, 4), (2, 0, 2, 2, 2)),
    ],
)
@pytest.mark.parametrize("backend", ["native", "reference", "torch"])
def test_empty_tensors(input_shape, grid_shape, backend):
    input = torch.ones(input_shape, requires_grad=True)
    grid = torch.zeros(grid_shape, requires_grad=True)
    out = grid_sample(input, grid, backend=backend)
    rank = len(input_shape) - 2
    fields = grid_shape[1:2] if len(grid_shape) > len(input_shape) else ()
    assert out.shape == (input_shape[0], *fields, input_shape[1], *grid_shape[-1 - rank : -1])
    for gradient in torch.autograd.grad(out.sum(), (input, grid)):
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(
    ("rank", "mode"), [(2, "bilinear"), (2, "bicubic"), (2, "nearest"), (3, "bilinear")]
)
def test_derivatives_of_both_orders(rank, mode, padding):
    draw = torch.Generator().manual_seed(11)
    input = torch.randn(1, 2, *[3] * rank, generator=draw, dtype=torch.float64)
    grid = torch.rand(1, *[2] * rank, rank, generator=draw, dtype=torch.float64) * 2.6 - 1.3
    input.requires_grad_()
    grid.requires_grad_(mode != "nearest")

    def call(input: Tensor, grid: Tensor) -> Tensor:
        return grid_sample(input, grid, mode, padding, True)

    assert torch.autograd.gradcheck(call, (input, grid))
    assert torch.autograd.gradgradcheck(call, (input, grid))


@given(data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_shape_layout_and_option(data):
    rank = data.draw(st.sampled_from([2, 3]))
    batch, channels = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 35))
    size = st.integers(1, 12 if rank == 2 else 6)
    sizes, out_sizes = ([data.draw(size) for _ in range(rank)] for _ in range(2))
    fields = data.draw(st.sampled_from([(), (1,), (3,)]))
    mode = data.draw(st.sampled_from(["bilinear", "nearest", "bicubic"][: 5 - rank]))
    padding, align = data.draw(st.sampled_from(PADDINGS)), data.draw(st.booleans())
    scale = data.draw(st.sampled_from([0.5, 1.5, 20.0]))
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    input = torch.randn(batch, channels, *sizes, generator=draw, dtype=torch.float64)
    grid = torch.randn(batch, *fields, *out_sizes, rank, generator=draw, dtype=torch.float64)
    input = strided(input, data.draw(st.sampled_from(("plain", *STRIDES))))
    grid = strided(grid * scale, data.draw(st.sampled_from(("plain", *STRIDES[:3]))))
    options = (mode, padding, align)
    ours, truth = grid_sample(input, grid, *options), with_backend("torch", input, grid, *options)
    torch.testing.assert_close(ours, truth[0])
    if mode != "nearest":
        torch.testing.assert_close(with_gradients(grid_sample, input, grid, *options), truth)


def with_backend(backend: str, input: Tensor, grid: Tensor, *options) -> list[Tensor]:
    with use_backend(grid_sample=backend):
        return with_gradients(grid_sample, input, grid, *options)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("channels_last", [False, True])
def test_opcheck(rank, channels_last):
    input, grid = problem(rank, 3)
    if channels_last:
        input = input.contiguous(memory_format=CHANNELS_LAST[rank])
    options = (False, 0, 1, False)
    ops = torch.ops.motion_lab
    torch.library.opcheck(ops.grid_sample, (input, grid, None, None, *options))
    grad = ops.grid_sample(input, grid, None, None, *options)
    for wanted in ([True, True, False, False], [False, True, False, False]):
        torch.library.opcheck(
            ops.grid_sample_backward, (grad, input, grid, None, None, *options, wanted)
        )


def test_compiles_as_one_graph_forward_and_backward():
    input, grid = problem(2, 3)
    compiled = torch.compile(grid_sample, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        with_gradients(compiled, input, grid, "bilinear", "border"),
        with_gradients(grid_sample, input, grid, "bilinear", "border"),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_autocast_treats_it_as_it_treats_torchs(dtype):
    input, grid = problem(2, 3)
    input, grid = input.to(dtype), grid.to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        ours = grid_sample(input, grid)
        expected = F.grid_sample(input, grid, align_corners=False)
    assert ours.dtype == expected.dtype
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_only_the_gradients_asked_for_are_computed():
    input, grid = problem(2)
    for first, second in ((True, False), (False, True)):
        x, y = input.clone().requires_grad_(first), grid.clone().requires_grad_(second)
        grid_sample(x, y).sum().backward()
        assert (x.grad is not None, y.grad is not None) == (first, second)


def test_the_drop_in_takes_what_torch_takes():
    ours, torchs = (inspect.signature(f).parameters for f in (compat.grid_sample, F.grid_sample))
    assert list(ours) == list(torchs)
    assert {k: v.default for k, v in ours.items()} == {k: v.default for k, v in torchs.items()}
    input, grid = problem(2)
    torch.testing.assert_close(
        compat.grid_sample(input, grid, padding_mode="border", align_corners=True),
        F.grid_sample(input, grid, padding_mode="border", align_corners=True),
    )
    torch.testing.assert_close(compat.grid_sample(input, grid), grid_sample(input, grid))


IMAGE, GRID = torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 5, 2)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("image", GRID), TypeError, "input must be a tensor, got str"),
        ((IMAGE, None), TypeError, "grid must be a tensor, got NoneType"),
        ((IMAGE.long(), GRID), TypeError, "input must be one of .* got int64"),
        ((IMAGE, GRID.double()), TypeError, "grid must be one of float32.* got float64"),
        ((IMAGE, GRID.half()), TypeError, "grid must be one of float32.* got float16"),
        ((IMAGE[0], GRID), ValueError, r"input must have 4 dimensions .* got shape \(3, 4, 4\)"),
        ((IMAGE, GRID[0]), ValueError, r"grid must have 4 dimensions, or 5 .* \(5, 5, 2\)"),
        ((IMAGE, GRID[..., :1]), ValueError, "2 coordinates"),
        ((IMAGE[:, :, None], GRID[:, None]), ValueError, "3 coordinates"),
        ((IMAGE, GRID[:1]), ValueError, "grid must have input's batch size 2, got 1"),
        ((IMAGE[..., :0], GRID), ValueError, "must not be empty in space"),
        ((IMAGE, GRID, "linear"), ValueError, "mode must be one of .* got 'linear'"),
        ((IMAGE, GRID, "nearest", "wrap"), ValueError, "padding_mode must be one of .* got 'wrap'"),
        (
            (IMAGE[:, :, None], torch.zeros(2, 1, 5, 5, 3), "bicubic"),
            ValueError,
            "'bicubic' takes images",
        ),
        ((IMAGE, GRID.to("meta")), ValueError, "grid must be on cpu, got meta"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=f"grid_sample: .*{words}"):
        grid_sample(*arguments)


def test_backends_are_listed_and_an_unknown_one_is_refused():
    assert list(backends("grid_sample")) == ["native", "torch", "reference"]
    with pytest.raises(ValueError, match="no backend 'cudnn'"):
        grid_sample(IMAGE, GRID, backend="cudnn")
