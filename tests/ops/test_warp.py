"""warp: every backend against the same steps written with F.grid_sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motion_lab.ops import backends, warp

BACKENDS = ("native", "torch", "reference")


@dataclass(frozen=True)
class Case:
    """Sizes and options of one call."""

    sizes: tuple[int, ...] = (6, 9)
    out_sizes: tuple[int, ...] | None = None
    batch: int = 2
    channels: int = 5
    fields: int | None = None
    weighted: bool = False
    masked: bool = False
    padding: str = "border"
    align: bool = False
    spread: float = 0.3

    def tensors(self, dtype: torch.dtype, seed: int = 0) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(seed)

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)

        out = self.out_sizes or self.sizes
        fields = () if self.fields is None else (self.fields,)
        tensors = {
            "input": random(self.batch, self.channels, *self.sizes),
            "displacement": random(self.batch, *fields, *out, len(out)) * self.spread,
        }
        if self.weighted:
            tensors["weight"] = random(self.batch, *fields, *out)
        if self.masked:
            tensors["mask"] = random(self.batch, 1, *out)
        return tensors

    def call(self, tensors: dict[str, Tensor], backend: str | None = None) -> Tensor:
        options = {"padding_mode": self.padding, "align_corners": self.align}
        return warp(**tensors, **options, backend=backend)

    def truth(self, tensors: dict[str, Tensor]) -> Tensor:
        """The steps, one field at a time."""
        input, displacement = tensors["input"], tensors["displacement"]
        rank = len(self.sizes)
        theta = torch.eye(rank, rank + 1, dtype=input.dtype).expand(self.batch, -1, -1)
        size = [self.batch, 1, *(self.out_sizes or self.sizes)]
        identity = F.affine_grid(theta, size, align_corners=self.align)
        if "weight" in tensors:
            displacement = (displacement * tensors["weight"][..., None]).sum(1)
        single = displacement.ndim == input.ndim
        results = [
            F.grid_sample(
                input, identity + field, padding_mode=self.padding, align_corners=self.align
            )
            * tensors.get("mask", 1)
            for field in ([displacement] if single else displacement.unbind(1))
        ]
        return results[0] if single else torch.stack(results, 1)


IMAGES = {
    "one field": Case(),
    "a mask": Case(masked=True),
    "many fields": Case(fields=3),
    "many fields, a mask": Case(fields=3, masked=True),
    "a weighted sum": Case(fields=3, weighted=True),
    "a weighted sum, a mask": Case(fields=4, weighted=True, masked=True),
    "a sum of one": Case(fields=1, weighted=True),
    "another size": Case(out_sizes=(13, 4), masked=True),
    "many channels": Case(channels=37, masked=True),
    "zeros outside": Case(padding="zeros", spread=1.5, masked=True),
    "reflection": Case(padding="reflection", spread=3.0, fields=2, weighted=True),
    "aligned corners": Case(align=True, masked=True),
    "aligned corners, another size": Case(align=True, out_sizes=(3, 17)),
    "one output cell": Case(out_sizes=(1, 1)),
    "one input cell": Case(sizes=(1, 1), out_sizes=(4, 5)),
    "colour images": Case(channels=3, sizes=(20, 31), batch=1),
}
VOLUMES = {
    f"volume: {name}": Case(
        **{
            **vars(case),
            "sizes": (3, *case.sizes),
            "out_sizes": case.out_sizes and (2, *case.out_sizes),
        }
    )
    for name, case in IMAGES.items()
}
CASES = {**IMAGES, **VOLUMES}


def with_gradients(function, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The output and, for one fixed gradient of it, the gradient of every tensor."""
    tensors = {name: x.detach().requires_grad_() for name, x in tensors.items()}
    out = function(tensors)
    draw = torch.Generator().manual_seed(99)
    grad = torch.randn(out.shape, generator=draw, dtype=torch.float64).to(out.dtype)
    gradients = torch.autograd.grad(out, tuple(tensors.values()), grad)
    return {"output": out, **dict(zip(tensors, gradients, strict=True))}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_equals_its_steps_in_float64(name, backend):
    case = CASES[name]
    tensors = case.tensors(torch.float64)
    ours = with_gradients(lambda t: case.call(t, backend), tensors)
    torch.testing.assert_close(ours, with_gradients(case.truth, tensors))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_native_is_as_exact_as_its_steps_in_float32(name, channels_last):
    case = CASES[name]
    tensors = case.tensors(torch.float32)
    if channels_last:
        last = torch.channels_last if len(case.sizes) == 2 else torch.channels_last_3d
        tensors["input"] = tensors["input"].to(memory_format=last)
    truth = with_gradients(case.truth, {k: x.double() for k, x in tensors.items()})
    steps = with_gradients(case.truth, tensors)
    for key, ours in with_gradients(case.call, tensors).items():
        exact = truth[key]
        allowed = 2 * (steps[key] - exact).abs().max() + 1e-6 * (1 + exact.abs().max())
        assert (ours - exact).abs().max() <= allowed, key


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["a weighted sum, a mask", "volume: many fields, a mask"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_half_features_take_float32_displacements(name, dtype, backend):
    case = CASES[name]
    tensors = case.tensors(torch.float32)
    tensors["input"] = tensors["input"].to(dtype)
    out = case.call(tensors, backend)
    assert out.dtype == dtype
    truth = case.truth({k: x.float() for k, x in tensors.items()})
    torch.testing.assert_close(
        out.float(), truth, rtol=2 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps
    )
    gradients = with_gradients(lambda t: case.call(t, backend), tensors)
    assert all(gradients[k].dtype == x.dtype for k, x in tensors.items())


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


@pytest.mark.parametrize(
    "case",
    [
        Case(sizes=(3, 3), out_sizes=(2, 2), batch=1, channels=2, masked=True),
        Case(sizes=(2, 3, 2), batch=1, channels=2, fields=2, weighted=True, masked=True),
        Case(sizes=(3, 3), out_sizes=(2, 1), batch=1, channels=2, fields=2, padding="zeros"),
    ],
)
def test_derivatives_of_both_orders(case):
    tensors = {k: x.requires_grad_() for k, x in case.tensors(torch.float64, seed=1).items()}

    def call(*values: Tensor) -> Tensor:
        return case.call(dict(zip(tensors, values, strict=True)))

    assert torch.autograd.gradcheck(call, tuple(tensors.values()))
    assert torch.autograd.gradgradcheck(call, tuple(tensors.values()))


@given(data=st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_shape_and_option(data):
    rank = data.draw(st.sampled_from([2, 3]))
    size = st.integers(1, 12 if rank == 2 else 5)
    fields = data.draw(st.sampled_from([None, 1, 3]))
    case = Case(
        sizes=tuple(data.draw(size) for _ in range(rank)),
        out_sizes=tuple(data.draw(size) for _ in range(rank)),
        batch=data.draw(st.integers(1, 3)),
        channels=data.draw(st.integers(1, 20)),
        fields=fields,
        weighted=fields is not None and data.draw(st.booleans()),
        masked=data.draw(st.booleans()),
        padding=data.draw(st.sampled_from(["zeros", "border", "reflection"])),
        align=data.draw(st.booleans()),
        spread=data.draw(st.sampled_from([0.1, 1.0, 5.0])),
    )
    tensors = case.tensors(torch.float64, seed=data.draw(st.integers(0, 1000)))
    torch.testing.assert_close(
        with_gradients(case.call, tensors), with_gradients(case.truth, tensors)
    )


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("name", ["a weighted sum, a mask", "volume: many fields, a mask"])
def test_five_runs_are_equal(name, threads):
    case = Case(**{**vars(CASES[name]), "channels": 20, "batch": 1, "out_sizes": None})
    tensors = case.tensors(torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        runs = [with_gradients(case.call, tensors) for _ in range(5)]
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(torch.equal(run[k], runs[0][k]) for k in run)


@pytest.mark.parametrize("name", ["a mask", "volume: a weighted sum, a mask"])
def test_strides_change_nothing(name):
    case = CASES[name]
    tensors = case.tensors(torch.float32)
    strided = {k: x.movedim(0, -1).contiguous().movedim(-1, 0) for k, x in tensors.items()}
    strided["mask"] = torch.full((*tensors["mask"].shape[:-1], 40), math.nan)
    strided["mask"][..., ::4][..., : tensors["mask"].shape[-1]] = tensors["mask"]
    strided["mask"] = strided["mask"][..., ::4][..., : tensors["mask"].shape[-1]]
    plain, other = with_gradients(case.call, tensors), with_gradients(case.call, strided)
    assert all(torch.equal(plain[k], other[k]) for k in plain)


def test_one_mask_and_one_weight_may_be_expanded_over_the_batch():
    case = CASES["a weighted sum, a mask"]
    tensors = case.tensors(torch.float32)
    for key in ("mask", "weight", "displacement"):
        tensors[key] = tensors[key][:1].expand_as(tensors[key])
    torch.testing.assert_close(case.call(tensors), case.truth(tensors), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["one field", "volume: a weighted sum, a mask", "many fields"])
def test_opcheck(name):
    tensors = CASES[name].tensors(torch.float32)
    packed = [tensors.get(key) for key in ("input", "displacement", "weight", "mask")]
    options = (True, 0, 1, False)
    torch.library.opcheck(torch.ops.motion_lab.grid_sample, (*packed, *options))
    grad = torch.ops.motion_lab.grid_sample(*packed, *options)
    wanted = [x is not None for x in packed]
    torch.library.opcheck(
        torch.ops.motion_lab.grid_sample_backward, (grad, *packed, *options, wanted)
    )


@pytest.mark.parametrize("name", ["a mask", "volume: a weighted sum, a mask"])
def test_compiles_as_one_graph_forward_and_backward(name):
    case = CASES[name]
    tensors = case.tensors(torch.float32)
    compiled = torch.compile(case.call, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        with_gradients(compiled, tensors), with_gradients(case.call, tensors)
    )


def test_autocast_computes_in_float32():
    case = CASES["a weighted sum, a mask"]
    tensors = case.tensors(torch.float32)
    tensors["input"] = tensors["input"].bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = case.call(tensors)
    assert out.dtype == torch.float32
    expected = case.truth({k: x.float() for k, x in tensors.items()})
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_tensors(backend):
    for case in (Case(batch=0, masked=True), Case(channels=0, masked=True), Case(fields=0)):
        tensors = case.tensors(torch.float32)
        results = with_gradients(lambda t, case=case: case.call(t, backend), tensors)
        assert not results["output"].numel()
        assert all(torch.equal(results[k], torch.zeros_like(x)) for k, x in tensors.items())


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
    assert list(backends("warp")) == list(BACKENDS)
