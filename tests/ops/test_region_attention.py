"""What region_attention means: the formula, and its borders. test_battery.py has its kernels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cases.op import FLOATS, assert_close_enough, run, widened
from cases.region_attention import BIT_63, CASES, REGION_ATTENTION, Attention, formula
from motion_lab.ops import RegionPlan, region_attention
from motion_lab.ops.reference.region_attention import allowed_pairs

# How torch's own kernels round 16-bit floats is not ours to judge.
BACKENDS = {"reference": FLOATS, "torch": (torch.float32, torch.float64)}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_agrees_with_the_formula(backend: str, name: str) -> None:
    for dtype in BACKENDS[backend]:
        arguments = CASES[name].arguments(dtype)
        low, truth = (
            run(REGION_ATTENTION, t, "", call=formula) for t in (arguments, widened(arguments))
        )
        assert_close_enough(run(REGION_ATTENTION, arguments, backend), low, truth)


def test_a_pair_may_attend_where_pythons_integers_share_a_bit() -> None:
    words = [0, 1, 2, 3, 5, 6, 1 << 62, BIT_63, BIT_63 | 1, -1, 2**63 - 1]
    regions = torch.tensor([words])
    expected = [[i & j != 0 for j in words] for i in words]
    assert allowed_pairs(regions, regions)[0, 0].tolist() == expected


def test_one_region_is_plain_attention() -> None:
    arguments = Attention(q_length=100, k_length=90, words=(1,), return_lse=False)
    t = arguments.arguments(torch.float32)
    expected = F.scaled_dot_product_attention(t["q"], t["k"], t["v"])
    torch.testing.assert_close(region_attention(**t), expected)


@pytest.mark.parametrize("backend", ["native", "torch", "reference"])
def test_a_query_without_keys_gives_zeros_and_zero_gradients(backend: str) -> None:
    t = Attention(q_length=5, k_length=9).arguments(torch.float32)
    q, k, v = t["q"].requires_grad_(), t["k"], t["v"]
    words = torch.tensor([[1, 2, 0, 4, BIT_63]] * 2), torch.tensor([[1] * 8 + [4]] * 2)
    out, lse = region_attention(q, k, v, *words, return_lse=True, backend=backend)
    (dq,) = torch.autograd.grad(out.square().sum() + lse[..., [0, 3]].sum(), q)
    dead, alive = [1, 2, 4], [0, 3]
    assert (out[:, :, dead] == 0).all()
    assert (dq[:, :, dead] == 0).all()
    assert (lse[:, :, dead] == -torch.inf).all()
    assert (dq[:, :, alive] != 0).any(-1).all()
    assert dq.isfinite().all()


def test_takes_heads_that_are_one() -> None:
    case = Attention(batch=1, heads=1, kv_heads=1, return_lse=False)
    t = case.arguments(torch.float32)
    expanded = {key: t[key].expand(3, 4, -1, -1) for key in "qkv"}
    expanded |= {key: t[key].expand(3, -1) for key in ("q_regions", "k_regions")}
    out = region_attention(**{**t, **expanded})
    assert torch.equal(out, region_attention(**t).expand(3, 4, -1, -1))


def test_the_output_lies_as_the_queries_do() -> None:
    case = Attention(layouts=("heads inside",), return_lse=False)
    out = region_attention(**case.arguments(torch.float32))
    assert out.transpose(1, 2).is_contiguous()


def test_a_plan_gives_the_bits_of_sorted_tokens() -> None:
    t = Attention(q_length=200, k_length=150, words=(1, 2, 4, 8)).arguments(torch.float32)
    plan = RegionPlan(t["q_regions"], t["k_regions"])
    to_queries, to_keys = (order[:, None, :, None] for order in (plan.q_order, plan.k_order))
    words = t["q_regions"].gather(1, plan.q_order), t["k_regions"].gather(1, plan.k_order)
    assert all((x.diff() >= 0).all() for x in words)
    q = t["q"].take_along_dim(to_queries, 2)
    k, v = (t[name].take_along_dim(to_keys, 2) for name in "kv")
    out, lse = region_attention(q, k, v, *words, return_lse=True)
    planned = region_attention(**{**t, "plan": plan})
    assert torch.equal(planned[0].take_along_dim(to_queries, 2), out)
    assert torch.equal(planned[1].take_along_dim(to_queries[..., 0], 2), lse)


def test_a_plan_sorts_words_for_queries_and_keys_once() -> None:
    words = torch.tensor([[4, 1, 2, 1]])
    plan = RegionPlan(words, words)
    assert plan.q_order is plan.k_order
    assert plan.q_order.tolist() == [[1, 3, 2, 0]]


def test_a_plan_is_right_for_words_that_have_changed() -> None:
    t = Attention(words=(1, 2, 3), return_lse=False).arguments(torch.float32)
    plan = RegionPlan(t["q_regions"], t["k_regions"])
    t["q_regions"].copy_(t["q_regions"].roll(5, 1))
    torch.testing.assert_close(region_attention(**{**t, "plan": plan}), region_attention(**t))


def test_a_plan_serves_calls_inside_a_compiled_function() -> None:
    t = Attention(return_lse=False).arguments(torch.float32)
    plan = RegionPlan(t["q_regions"], t["k_regions"])
    compiled = torch.compile(region_attention, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**{**t, "plan": plan}), region_attention(**t))


@pytest.mark.parametrize(
    ("q_regions", "k_regions", "message"),
    [
        (torch.ones(2, 70).long(), None, "plan was made for another q_regions"),
        (torch.ones(2, 71).long(), None, r"another q_regions, \(2, 71\) on cpu; got \(2, 70\)"),
        (None, torch.ones(1, 70).long(), "plan was made for another k_regions"),
    ],
)
def test_a_plan_for_other_words_is_refused(
    q_regions: Tensor | None, k_regions: Tensor | None, message: str
) -> None:
    t = Attention().arguments(torch.float32)
    words = (t["q_regions"] if q_regions is None else q_regions, t["k_regions"])
    plan = RegionPlan(words[0], words[1] if k_regions is None else k_regions)
    with pytest.raises(ValueError, match=message):
        region_attention(**{**t, "plan": plan})


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ([1], TypeError, "RegionPlan: q_regions must be a tensor, got list"),
        (torch.ones(2, 5), TypeError, "q_regions must be one of int64, got float32"),
        (torch.ones(5).long(), ValueError, r"q_regions must have shape \(batch, length\)"),
        (torch.ones(2, 5).long().to("meta"), ValueError, "k_regions must be on meta, got cpu"),
    ],
)
def test_a_plan_names_wrong_words(words: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RegionPlan(words, torch.ones(2, 7).long())


def test_autocast_is_that_of_scaled_dot_product_attention() -> None:
    t = Attention(words=(1,), return_lse=False).arguments(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = region_attention(**t)
        torchs = F.scaled_dot_product_attention(t["q"], t["k"], t["v"])
        assert region_attention(**widened(t)).dtype == torch.float64
        assert torch.equal(region_attention(**{**t, "q": t["q"].bfloat16()}), ours)
    assert ours.dtype == torchs.dtype == torch.bfloat16
    torch.testing.assert_close(ours, torchs, atol=2e-3, rtol=2e-2)


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
        ("plan", True, TypeError, "plan must be a RegionPlan, got bool"),
        ("backend", "cudnn", ValueError, "no backend 'cudnn'"),
    ],
)
def test_wrong_arguments_are_named(
    name: str, value: object, error: type[Exception], message: str
) -> None:
    good = Attention(heads=4, kv_heads=2).arguments(torch.float32)
    with pytest.raises(error, match=message):
        region_attention(**{**good, name: value})
