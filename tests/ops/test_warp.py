"""What warp means: its steps, written with F.grid_sample. test_battery.py has its kernels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cases.op import Arguments, Results, run
from cases.warp import CASES, WARP
from motion_lab.ops import backends, warp

BACKENDS = ("native", "torch", "reference")


def by_steps(t: Arguments, _: str = "") -> Results:
    """The steps, one field at a time."""
    input, displacement = t["input"], t["displacement"]
    options = {"align_corners": t["align_corners"]}
    rank = input.ndim - 2
    theta = torch.eye(rank, rank + 1, dtype=input.dtype).expand(len(input), -1, -1)
    size = [len(input), 1, *displacement.shape[-1 - rank : -1]]
    identity = F.affine_grid(theta, size, **options)
    if t["weight"] is not None:
        displacement = (displacement * t["weight"][..., None]).sum(1)
    single = displacement.ndim == input.ndim
    results = [
        F.grid_sample(input, identity + field, padding_mode=t["padding_mode"], **options)
        * (1 if t["mask"] is None else t["mask"])
        for field in ([displacement] if single else displacement.unbind(1))
    ]
    return {"out": results[0] if single else torch.stack(results, 1)}


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("no ")])
def test_equals_its_steps_in_float64(name, backend):
    arguments = CASES[name].arguments(torch.float64)
    expected = run(WARP, arguments, "", call=by_steps)
    torch.testing.assert_close(run(WARP, arguments, backend), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["a weighted sum, a mask", "volume: many fields, a mask"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_half_features_take_float32_displacements(name, dtype, backend):
    arguments = CASES[name].arguments(dtype)
    found = run(WARP, arguments, backend)
    assert found["out"].dtype == dtype
    truth = by_steps({**arguments, "input": arguments["input"].float()})["out"]
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(found["out"].float(), truth, rtol=2 * eps, atol=eps)
    for key in WARP.differentiable:
        if arguments[key] is not None:
            assert found[f"d{key}"].dtype == arguments[key].dtype


@pytest.mark.parametrize("sizes", [(7, 9), (3, 7, 9), (64, 64)])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_no_displacement_is_the_input_itself(sizes, padding):
    draw = torch.Generator().manual_seed(0)
    input = torch.randn(2, 5, *sizes, generator=draw)
    still = torch.zeros(2, *sizes, len(sizes))
    for align in (False, True):
        out = warp(input, still, padding_mode=padding, align_corners=align)
        assert torch.equal(out, input)


def test_a_displacement_points_to_where_the_output_comes_from():
    """x before y; one cell is 2 / size."""
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    shift = torch.tensor([2 / 4, 0.0]).expand(1, 3, 4, 2)
    expected = torch.tensor([[1.0, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11]])
    torch.testing.assert_close(warp(image, shift)[0, 0], expected)
    down = torch.tensor([0.0, 2 / 3]).expand(1, 3, 4, 2)
    assert warp(image, down, padding_mode="zeros")[0, 0, :, 0].tolist() == [4, 8, 0]


def test_autocast_computes_in_float32():
    arguments = CASES["a weighted sum, a mask"].arguments(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        out = warp(**arguments)
    assert out.dtype == torch.float32
    expected = by_steps({**arguments, "input": arguments["input"].float()})["out"]
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("no ")])
def test_empty_tensors(name, backend):
    arguments = CASES[name].arguments(torch.float32)
    found = run(WARP, arguments, backend)
    assert not found.pop("out").numel()
    for key, gradient in found.items():
        assert torch.equal(gradient, torch.zeros_like(arguments[key.removeprefix("d")]))


IMAGE, FIELD, FIELDS = torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 5, 2), torch.zeros(2, 7, 5, 5, 2)
WEIGHT, MASK = torch.zeros(2, 7, 5, 5), torch.zeros(2, 1, 5, 5)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "words"),
    [
        ((IMAGE, [0.0]), {}, TypeError, "displacement must be a tensor, got list"),
        ((IMAGE, FIELD.double()), {}, TypeError, "displacement must be one of float32"),
        ((IMAGE, torch.zeros(2, 5, 5, 3)), {}, ValueError, "2 coordinates"),
        ((IMAGE, FIELD), {"weight": WEIGHT}, ValueError, "weight needs K displacement fields"),
        ((IMAGE, FIELDS[:, :0]), {"weight": WEIGHT[:, :0]}, ValueError, "weight needs K"),
        ((IMAGE, FIELDS), {"weight": WEIGHT[:, :6]}, ValueError, r"weight must have shape .*7, 5"),
        ((IMAGE, FIELDS), {"weight": WEIGHT.long()}, TypeError, "weight must be one of float32"),
        (
            (IMAGE, FIELD),
            {"mask": MASK[:, 0]},
            ValueError,
            r"mask must have shape .*\(2, 1, 5, 5\)",
        ),
        ((IMAGE, FIELD), {"mask": 1.0}, TypeError, "mask must be a tensor, got float"),
        ((IMAGE, FIELD), {"padding_mode": "edge"}, ValueError, "padding_mode must be one of"),
    ],
)
def test_wrong_arguments_are_named(arguments, keywords, error, words):
    with pytest.raises(error, match=f"warp: .*{words}"):
        warp(*arguments, **keywords)


def test_backends_are_listed():
    assert list(backends("warp")) == [*BACKENDS, "native_atomic", "simt"]
