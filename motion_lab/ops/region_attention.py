"""Attention within regions: a token names its regions as bits, pairs that share one attend."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lab.ops import _native
from motion_lab.ops import _native_region_attention as native
from motion_lab.ops._backends import Backend, register, select
from motion_lab.ops._checks import check_dims, check_shape, check_tensor
from motion_lab.ops.reference import region_attention as reference

_OP = "region_attention"
_MAX_HEAD_SIZE = 256


class RegionPlan:
    """An order of the tokens in which those of one region lie together.

    Given to `region_attention` as ``plan``, it lets the kernels work on scattered regions as if
    they were contiguous. Queries, keys, values and results stay where they are. One plan serves
    every layer and step that has the same words; what changes by it is the speed, and rounding.

    Tokens are sorted by their words: stably, on the words' device, without waiting for it, so that
    a plan can be made inside a CUDA graph and inside ``torch.compile``.

    Args:
        q_regions, k_regions: int64 bit-fields (B, Lq) and (B, Lk), the tensors that the calls with
            this plan get. Where they are one tensor, it is sorted once.

    Raises:
        TypeError, ValueError: as `region_attention` for these arguments.
    """

    def __init__(self, q_regions: Tensor, k_regions: Tensor) -> None:
        for name, words in (("q_regions", q_regions), ("k_regions", k_regions)):
            device = None if name == "q_regions" else q_regions.device
            check_tensor("RegionPlan", name, words, dtypes=(torch.int64,), device=device)
            check_dims("RegionPlan", name, words, "batch, length")
        self.q_regions, self.k_regions = q_regions, k_regions
        self.q_order = q_regions.argsort(dim=1, stable=True)
        same = k_regions is q_regions
        self.k_order = self.q_order if same else k_regions.argsort(dim=1, stable=True)


@overload
def region_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_regions: Tensor,
    k_regions: Tensor,
    *,
    scale: float | None = None,
    plan: RegionPlan | None = None,
    return_lse: Literal[False] = False,
    backend: str | None = None,
) -> Tensor: ...


@overload
def region_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_regions: Tensor,
    k_regions: Tensor,
    *,
    scale: float | None = None,
    plan: RegionPlan | None = None,
    return_lse: Literal[True],
    backend: str | None = None,
) -> tuple[Tensor, Tensor]: ...


def region_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_regions: Tensor,
    k_regions: Tensor,
    *,
    scale: float | None = None,
    plan: RegionPlan | None = None,
    return_lse: bool = False,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Softmax attention between the tokens that share a region.

    Query i of batch b attends to key j iff ``q_regions[b, i] & k_regions[b, j] != 0``: each of the
    64 bits of a word is a region, so regions may overlap and lie scattered over the tokens, and the
    mask costs O(Lq + Lk). A query that shares a region with no key gives zeros, log-sum-exp -inf
    and zero gradients.

    Args:
        q: queries (B, H, Lq, D) in float32, float64, bfloat16 or float16; D from 1 to 256.
        k, v: keys and values (B, Hk, Lk, D) in q's dtype. Hk divides H (grouped-query attention):
            query head h reads key head h // (H / Hk).
        q_regions, k_regions: int64 bit-fields (B, Lq) and (B, Lk), shared by the heads.
        scale: factor of the logits q·k, 1 / sqrt(D) by default.
        plan: a `RegionPlan` of these very word tensors, for speed where regions lie scattered. If
            their contents have changed since, the result is still that of the words as they are.
        return_lse: also return the logarithm of each query's sum of exp(scale q·k), (B, H, Lq), in
            float32, float64 when q is. It is differentiable.
        backend: one of `motion_lab.ops.backends("region_attention")`.

    Returns:
        (B, H, Lq, D) in q's dtype, or that and the log-sum-exp. Any strides are taken. Under
        autocast q, k and v are cast as for `F.scaled_dot_product_attention`.

    Raises:
        TypeError: a dtype, or an argument that is no tensor, or no plan.
        ValueError: a shape or a device, or a plan for other words.
    """
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        check_tensor(_OP, name, tensor, device=None if name == "q" else q.device)
    q, k, v = _autocast(q), _autocast(k), _autocast(v)
    _check(q, k, v, q_regions, k_regions)
    _check_plan(plan, q_regions, k_regions)
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    call = select(_OP, q.device.type, backend).call
    inputs = (q, k, v, q_regions, k_regions)
    out, lse = call(*inputs, scale=factor, plan=plan, return_lse=return_lse)
    return (out, lse) if return_lse else out


def _check(q: Tensor, k: Tensor, v: Tensor, q_regions: Tensor, k_regions: Tensor) -> None:
    check_dims(_OP, "q", q, "batch, heads, length, head size")
    batch, heads, length, size = q.shape
    if not 1 <= size <= _MAX_HEAD_SIZE:
        raise ValueError(f"{_OP}: q's head size must be 1 to {_MAX_HEAD_SIZE}, got {size}")
    check_dims(_OP, "k", k, "batch, heads, length, head size")
    kv_heads, k_length = k.shape[1:3]
    if kv_heads != heads and (kv_heads == 0 or heads % kv_heads):
        raise ValueError(f"{_OP}: k's heads must divide q's {heads} heads, got {kv_heads}")
    for name, tensor in (("k", k), ("v", v)):
        check_tensor(_OP, name, tensor, dtypes=(q.dtype,), device=q.device)
        check_shape(_OP, name, tensor, batch=batch, heads=kv_heads, length=k_length, size=size)
    for name, words, tokens in (
        ("q_regions", q_regions, length),
        ("k_regions", k_regions, k_length),
    ):
        check_tensor(_OP, name, words, dtypes=(torch.int64,), device=q.device)
        check_shape(_OP, name, words, batch=batch, length=tokens)


def _check_plan(plan: RegionPlan | None, q_regions: Tensor, k_regions: Tensor) -> None:
    if plan is None:
        return
    if not isinstance(plan, RegionPlan):
        raise TypeError(f"{_OP}: plan must be a RegionPlan, got {type(plan).__name__}")
    for name, made_for, words in (
        ("q_regions", plan.q_regions, q_regions),
        ("k_regions", plan.k_regions, k_regions),
    ):
        # The tensor itself and not its contents: to compare these would wait for the GPU.
        if words is not made_for:
            raise ValueError(
                f"{_OP}: plan was made for another {name}, {tuple(made_for.shape)} on"
                f" {made_for.device}; got {tuple(words.shape)} on {words.device}. Give"
                f" plan.{name}, or make a plan for these words."
            )


def _autocast(x: Tensor) -> Tensor:
    """Cast as autocast does for `F.scaled_dot_product_attention`: everything but float64."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind) or x.dtype == torch.float64:
        return x
    return x.to(torch.get_autocast_dtype(kind))


def _kernels_call(
    library: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_regions: Tensor,
    k_regions: Tensor,
    *,
    scale: float,
    plan: RegionPlan | None,
    return_lse: bool,
) -> tuple[Tensor, Tensor]:
    # The CUDA kernels compute in float32 alone.
    if q.is_cuda and q.dtype == torch.float64:
        return reference.region_attention(q, k, v, q_regions, k_regions, scale=scale)
    orders = (None, None) if plan is None else (plan.q_order, plan.k_order)
    return native.attention(library, q, k, v, q_regions, k_regions, *orders, scale)


def _reference_call(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_regions: Tensor,
    k_regions: Tensor,
    *,
    scale: float,
    plan: RegionPlan | None,
    return_lse: bool,
) -> tuple[Tensor, Tensor]:
    return reference.region_attention(q, k, v, q_regions, k_regions, scale=scale)


def _torch_call(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_regions: Tensor,
    k_regions: Tensor,
    *,
    scale: float,
    plan: RegionPlan | None,
    return_lse: bool,
) -> tuple[Tensor, Tensor | None]:
    """`F.scaled_dot_product_attention` under the dense boolean mask: O(Lq Lk) memory."""
    allowed = reference.allowed_pairs(q_regions, k_regions)
    alive = allowed.any(dim=-1, keepdim=True)
    # SDPA's own kernels disagree on rows without keys: here such rows see every key, and the
    # result is zeroed.
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=allowed | ~alive, scale=scale, enable_gqa=k.shape[1] != q.shape[1]
    ).masked_fill(~alive, 0)
    # SDPA keeps its log-sum-exp to itself.
    if not return_lse:
        return out, None
    logits = reference.masked_logits(q, k, allowed, scale=scale)
    return out, reference.log_sum_exp(logits, allowed)


register(
    _OP,
    "native",
    Backend(
        partial(_kernels_call, "motion_lab"),
        ("cpu", "cuda"),
        _native.problem,
        notes={"cuda": "float64 by the reference"},
    ),
)
register(_OP, "torch", Backend(_torch_call, ("cpu", "cuda")))
register(_OP, "reference", Backend(_reference_call, ("cpu", "cuda")))
_native.register_simt(_OP, partial(_kernels_call, "motion_lab_simt"))
