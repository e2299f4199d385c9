"""region_attention: every backend against the float64 reference, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motion_lab.ops import _native, region_attention
from motion_lab.ops._checks import FLOATING

BIT_63 = -(2**63)


@dataclass(frozen=True)
class Case:
    """Sizes and regions of one call; words are drawn from `words`, or given per token."""

    batch: int = 2
    heads: int = 2
    kv_heads: int = 2
    q_length: int = 70
    k_length: int = 70
    size: int = 16
    words: tuple[int, ...] = (1, 2, 4)
    contiguous: bool = False
    scale: float | None = None
    spread: float = 1.0

    def tensors(self, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        draw = torch.Generator().manual_seed(7)
        shapes = [(self.heads, self.q_length), *[(self.kv_heads, self.k_length)] * 2]
        qkv = [
            torch.randn(self.batch, h, n, self.size, generator=draw, dtype=torch.float64)
            for h, n in shapes
        ]
        qkv[0] = qkv[0] * self.spread
        choices = torch.tensor(self.words)
        regions = []
        for length in (self.q_length, self.k_length):
            index = torch.randint(len(self.words), (self.batch, length), generator=draw)
            regions.append(choices[index.sort().values if self.contiguous else index])
        return [x.to(dtype) for x in qkv], regions


CASES = {
    "scattered": Case(),
    "contiguous": Case(contiguous=True, q_length=300, k_length=300, words=(1, 2, 4, 8)),
    "overlapping": Case(words=(1, 3, 6, 5, 7)),
    "some queries without keys": Case(words=(0, 1, 2)),
    "no pair at all": Case(words=(0,)),
    "one region": Case(words=(1,), q_length=129, k_length=65),
    "bit 63": Case(words=(BIT_63, BIT_63 | 1, 1, 2)),
    "all 64 regions": Case(words=(*(1 << i for i in range(63)), BIT_63), k_length=200),
    "one token": Case(q_length=1, k_length=1, words=(1,)),
    "one query": Case(q_length=1, k_length=130),
    "one key": Case(q_length=67, k_length=1),
    "no keys": Case(k_length=0),
    "no queries": Case(q_length=0),
    "no batch": Case(batch=0),
    "grouped heads": Case(heads=6, kv_heads=2, q_length=33, k_length=97),
    "one key head": Case(batch=1, heads=4, kv_heads=1, q_length=150),
    "head size 1": Case(size=1),
    "odd head size": Case(size=37),
    "largest head size": Case(size=256, q_length=40, k_length=75),
    "a scale": Case(scale=0.3),
    "large logits": Case(spread=40.0, words=(1, 3), k_length=150),
    "equal words": Case(words=(5,), q_length=64, k_length=64),
}


def allowed_pairs(q_regions: Tensor, k_regions: Tensor) -> Tensor:
    """(B, 1, Lq, Lk) from Python's own integers."""
    words = [[x.tolist() for x in regions] for regions in (q_regions, k_regions)]
    pairs = [
        [[i & j != 0 for j in keys] for i in queries] for queries, keys in zip(*words, strict=True)
    ]
    shape = (len(q_regions), 1, q_regions.shape[1], k_regions.shape[1])
    return torch.tensor(pairs, dtype=torch.bool).reshape(shape)


def plain_attention(
    q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, scale: float | None
) -> tuple[Tensor, Tensor]:
    """The formula as one would write it, in the inputs' own precision throughout."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    alive = allowed.any(-1, keepdim=True)
    logits = (q @ k.mT * scale).masked_fill(alive & ~allowed, -torch.inf)
    out = (logits.softmax(-1) @ v).masked_fill(~alive, 0)
    return out, logits.logsumexp(-1).masked_fill(~alive[..., 0], -torch.inf)


def with_gradients(
    attention: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]], qkv: list[Tensor]
) -> dict[str, Tensor]:
    leaves = [x.detach().requires_grad_() for x in qkv]
    out, lse = attention(*leaves)
    draw = torch.Generator().manual_seed(8)
    loss = torch.zeros((), dtype=torch.float64)
    for x in (out, lse):
        pull = torch.randn(x.shape, generator=draw, dtype=torch.float64).bfloat16()
        loss = loss + (x.masked_fill(x == -torch.inf, 0) * pull.to(x.dtype)).sum().double()
    gradients = torch.autograd.grad(loss, leaves)
    return dict(zip(("out", "lse", "dq", "dk", "dv"), (out, lse, *gradients), strict=True))


def assert_good(case: Case, dtype: torch.dtype, backend: str) -> None:
    """FlashAttention's criterion: at most twice the error of plain PyTorch in that precision."""
    qkv, regions = case.tensors(dtype)
    allowed = allowed_pairs(*regions)
    ours = with_gradients(
        lambda q, k, v: region_attention(
            q, k, v, *regions, scale=case.scale, return_lse=True, backend=backend
        ),
        qkv,
    )
    plain = with_gradients(lambda *x: plain_attention(*x, allowed, case.scale), qkv)
    truth = with_gradients(
        lambda *x: plain_attention(*x, allowed, case.scale), [x.double() for x in qkv]
    )
    slack = 1e-13 if dtype == torch.float64 else 1e-6
    for key, exact in truth.items():
        none = exact == -torch.inf
        assert torch.equal(ours[key] == -torch.inf, none), key
        error, low = (
            (x[key].double() - exact).masked_fill(none, 0).abs().amax() if exact.numel() else 0.0
            for x in (ours, plain)
        )
        size = exact.masked_fill(none, 0).abs().amax() if exact.numel() else 0.0
        assert error <= 2 * low + slack * (1 + size), key  # NaN fails, too


# How torch's own kernels round 16-bit floats is not ours to judge.
BACKENDS = [
    *((name, dtype) for name in ("native", "reference") for dtype in FLOATING),
    *(("torch", dtype) for dtype in (torch.float32, torch.float64)),
]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("backend", "dtype"), BACKENDS)
def test_agrees_with_the_formula(backend: str, name: str, dtype: torch.dtype) -> None:
    assert_good(CASES[name], dtype, backend)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
@pytest.mark.parametrize("name", ["scattered", "grouped heads", "odd head size"])
def test_every_instruction_set_agrees(name: str, isa: str) -> None:
    module = _native.cpu()
    before = module.isa()
    try:
        module.set_isa(isa)
    except ValueError as error:
        pytest.skip(str(error))
    try:
        for dtype in (torch.float32, torch.float64, torch.float16):
            assert_good(CASES[name], dtype, "native")
    finally:
        module.set_isa(before)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    sizes=st.tuples(*[st.integers(0, 90)] * 2),
    batch=st.integers(1, 2),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    size=st.integers(1, 70),
    words=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
    contiguous=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_agrees_for_any_sizes_and_words(
    sizes: tuple[int, int],
    batch: int,
    kv_heads: int,
    group: int,
    size: int,
    words: list[int],
    contiguous: bool,
    dtype: torch.dtype,
) -> None:
    case = Case(batch, group * kv_heads, kv_heads, *sizes, size, tuple(words), contiguous)
    assert_good(case, dtype, "native")


def call(qkv: list[Tensor], regions: list[Tensor], **options: object) -> Tensor:
    return region_attention(*qkv, *regions, backend="native", **options)


def test_one_region_is_plain_attention() -> None:
    qkv, _ = Case(q_length=100, k_length=90).tensors(torch.float32)
    regions = [torch.ones(2, n, dtype=torch.int64) for n in (100, 90)]
    torch.testing.assert_close(call(qkv, regions), F.scaled_dot_product_attention(*qkv))


@pytest.mark.parametrize("backend", ["native", "torch", "reference"])
def test_a_query_without_keys_gives_zeros_and_zero_gradients(backend: str) -> None:
    (q, k, v), _ = Case(q_length=5, k_length=9).tensors(torch.float32)
    q.requires_grad_()
    words = torch.tensor([[1, 2, 0, 4, BIT_63]] * 2), torch.tensor([[1] * 8 + [4]] * 2)
    out, lse = region_attention(q, k, v, *words, return_lse=True, backend=backend)
    (dq,) = torch.autograd.grad(out.square().sum() + lse[..., [0, 3]].sum(), q)
    dead, alive = [1, 2, 4], [0, 3]
    assert (out[:, :, dead] == 0).all()
    assert (dq[:, :, dead] == 0).all()
    assert (lse[:, :, dead] == -torch.inf).all()
    assert (dq[:, :, alive] != 0).any(-1).all()
    assert dq.isfinite().all()


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "heads inside": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "channels outside": lambda x: x.mT.contiguous().mT,
    "a slice": lambda x: F.pad(x, (3, 2, 1, 4))[:, :, 1:-4, 3:-2],
    "every second": lambda x: x.repeat_interleave(2, dim=3)[..., ::2],
    "reversed memory order": lambda x: x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_takes_any_strides(layout: str, dtype: torch.dtype) -> None:
    qkv, regions = CASES["grouped heads"].tensors(dtype)
    strided = [torch.stack([r, r], dim=-1)[..., 0] for r in regions]

    def run(qkv: list[Tensor], regions: list[Tensor]) -> dict[str, Tensor]:
        return with_gradients(lambda *x: call(list(x), regions, return_lse=True), qkv)

    expected = run(qkv, regions)
    for key, x in run([LAYOUTS[layout](x) for x in qkv], strided).items():
        assert torch.equal(x, expected[key]), key


def test_takes_expanded_tensors() -> None:
    qkv, regions = Case(batch=1, heads=1, kv_heads=1).tensors(torch.float32)
    expanded = [x.expand(3, 4, -1, -1) for x in qkv]
    out = call(expanded, [x.expand(3, -1) for x in regions])
    assert torch.equal(out, call(qkv, regions).expand(3, 4, -1, -1))


def test_the_output_lies_as_the_queries_do() -> None:
    qkv, regions = Case().tensors(torch.float32)
    out = call([LAYOUTS["heads inside"](x) for x in qkv], regions)
    assert out.transpose(1, 2).is_contiguous()


def test_writes_every_element_of_its_results() -> None:
    torch.use_deterministic_algorithms(True)  # fills new tensors with NaN
    try:
        for name in ("some queries without keys", "no pair at all", "no keys", "odd head size"):
            assert_good(CASES[name], torch.float32, "native")
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", ["scattered", "one key head"])
def test_five_runs_are_equal_bit_for_bit(name: str, threads: int) -> None:
    qkv, regions = CASES[name].tensors(torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        runs = [
            with_gradients(lambda *x: call(list(x), regions, return_lse=True), qkv)
            for _ in range(5)
        ]
        assert_good(CASES[name], torch.float32, "native")
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(torch.equal(run[key], runs[0][key]) for key in run)


def test_gradcheck() -> None:
    qkv, regions = Case(1, 4, 2, 5, 7, 3, words=(0, 1, 2, 3)).tensors(torch.float64)
    leaves = [x.requires_grad_() for x in qkv]
    assert torch.autograd.gradcheck(lambda *x: call(list(x), regions), leaves)
    regions = [r | 1 for r in regions]
    assert torch.autograd.gradcheck(lambda *x: call(list(x), regions, return_lse=True), leaves)


def test_opcheck() -> None:
    ops = torch.ops.motion_lab
    qkv, regions = Case(heads=4, q_length=9, k_length=11, size=5).tensors(torch.float32)
    for layout in (lambda x: x, LAYOUTS["heads inside"]):
        inputs = (*map(layout, qkv), *regions, 0.5)
        torch.library.opcheck(ops.region_attention_forward.default, inputs)
        out, lse, softmax = ops.region_attention_forward(*inputs)
        for grad_lse in (None, lse):
            arguments = (*inputs, out, softmax, out, grad_lse)
            torch.library.opcheck(ops.region_attention_backward.default, arguments)


def test_compiles_into_one_graph() -> None:
    qkv, regions = CASES["grouped heads"].tensors(torch.float32)

    def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return region_attention(q * 2, k, v, *regions, return_lse=True)

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    expected = with_gradients(run, qkv)
    for key, x in with_gradients(compiled, qkv).items():
        torch.testing.assert_close(x, expected[key])


def test_compiles_where_one_tensor_is_everything() -> None:
    (q, *_), (words, _) = Case().tensors(torch.float32)

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        return region_attention(x, x, x, words, words, return_lse=True)

    leaf = q.requires_grad_()
    expected = torch.autograd.grad(run(leaf)[0].square().sum(), leaf)
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        torch.autograd.grad(compiled(leaf)[0].square().sum(), leaf), expected
    )


def test_autocast_is_that_of_scaled_dot_product_attention() -> None:
    qkv, regions = Case(words=(1,)).tensors(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours, torchs = call(qkv, regions), F.scaled_dot_product_attention(*qkv)
        doubles = [x.double() for x in qkv]
        assert call(doubles, regions).dtype == torch.float64
        mixed = [qkv[0].bfloat16(), *qkv[1:]]
        assert torch.equal(call(mixed, regions), ours)
    assert ours.dtype == torchs.dtype == torch.bfloat16
    torch.testing.assert_close(ours, torchs, atol=2e-3, rtol=2e-2)


def test_double_backward_is_refused() -> None:
    qkv, regions = Case().tensors(torch.float64)
    q = qkv[0].requires_grad_()
    (dq,) = torch.autograd.grad(call(qkv, regions).square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dq.sum().backward()


def wrong(name: str, value: object) -> dict[str, object]:
    (q, k, v), (q_regions, k_regions) = Case(heads=4, kv_heads=2).tensors(torch.float32)
    good = {"q": q, "k": k, "v": v, "q_regions": q_regions, "k_regions": k_regions}
    return {**good, name: value}


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("q", [1.0], TypeError, "q must be a tensor, got list"),
        ("q", torch.ones(2, 4, 70, 16, dtype=torch.int32), TypeError, "q must be one of float32"),
        ("q", torch.ones(2, 70, 16), ValueError, r"q must have shape \(batch, heads, length"),
        ("q", torch.ones(2, 4, 70, 300), ValueError, "head size must be 1 to 256, got 300"),
        ("q", torch.ones(2, 3, 70, 16), ValueError, "k's heads must divide q's 3 heads, got 2"),
        (
            "k",
            torch.ones(2, 2, 70, 16).double(),
            TypeError,
            "k must be one of float32, got float64",
        ),
        ("k", torch.ones(2, 2, 70, 8), ValueError, "k must have shape .* got .*8"),
        ("k", torch.ones(70, 16), ValueError, "k must have shape"),
        ("v", torch.ones(2, 2, 69, 16), ValueError, "v must have shape .* got .*69"),
        ("v", torch.ones(2, 2, 70, 16, device="meta"), ValueError, "v must be on cpu, got meta"),
        ("q_regions", torch.ones(2, 70).int(), TypeError, "q_regions must be one of int64"),
        ("q_regions", torch.ones(2, 71).long(), ValueError, "q_regions must have shape"),
        ("k_regions", torch.ones(70).long(), ValueError, "k_regions must have shape"),
        ("backend", "cudnn", ValueError, "no backend 'cudnn'"),
    ],
)
def test_wrong_arguments_are_named(
    name: str, value: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        region_attention(**wrong(name, value))
