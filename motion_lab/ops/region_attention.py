"""Attention within regions: a token names its regions as bits, pairs that share one attend."""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from motion_lab.ops import _native
from motion_lab.ops._autograd import distinct
from motion_lab.ops._backends import Backend, register, select
from motion_lab.ops._checks import check_dims, check_shape, check_tensor
from motion_lab.ops.reference import region_attention as reference

_OP = "region_attention"
_MAX_HEAD_SIZE = 256


@overload
def region_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_regions: Tensor,
    k_regions: Tensor,
    *,
    scale: float | None = None,
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
        return_lse: also return the logarithm of each query's sum of exp(scale q·k), (B, H, Lq), in
            float32, float64 when q is. It is differentiable.
        backend: one of `motion_lab.ops.backends("region_attention")`.

    Returns:
        (B, H, Lq, D) in q's dtype, or that and the log-sum-exp. Any strides are taken. Under
        autocast q, k and v are cast as for `F.scaled_dot_product_attention`.

    Raises:
        TypeError: a dtype, or an argument that is no tensor.
        ValueError: a shape or a device.
    """
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        check_tensor(_OP, name, tensor, device=None if name == "q" else q.device)
    q, k, v = _autocast(q), _autocast(k), _autocast(v)
    _check(q, k, v, q_regions, k_regions)
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    call = select(_OP, q.device.type, backend).call
    out, lse = call(q, k, v, q_regions, k_regions, scale=factor, return_lse=return_lse)
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


def _autocast(x: Tensor) -> Tensor:
    """Cast as autocast does for `F.scaled_dot_product_attention`: everything but float64."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind) or x.dtype == torch.float64:
        return x
    return x.to(torch.get_autocast_dtype(kind))


def _empty_outputs(q: Tensor, *rest: object) -> tuple[Tensor, Tensor, Tensor]:
    # In q's layout: heads split off (B, L, H D) by a transpose go back by one, without a copy.
    dtype = torch.promote_types(q.dtype, torch.float32)
    lse = torch.empty(q.shape[:3], dtype=dtype, device=q.device)
    return torch.empty_like(q), lse, torch.empty((*lse.shape, 2), dtype=dtype, device=q.device)


def _empty_gradients(q: Tensor, k: Tensor, v: Tensor, *rest: object) -> tuple[Tensor, ...]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _forward_cpu(
    q: Tensor, k: Tensor, v: Tensor, q_regions: Tensor, k_regions: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    outputs = _empty_outputs(q)
    inputs = map(_native.pack, (q, k, v, q_regions, k_regions))
    _native.cpu().region_attention_forward(
        *inputs, scale, *map(_native.pack, outputs), torch.get_num_threads()
    )
    return outputs


def _backward_cpu(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_regions: Tensor,
    k_regions: Tensor,
    scale: float,
    *saved_and_gradients: Tensor | None,
) -> tuple[Tensor, ...]:
    gradients = _empty_gradients(q, k, v)
    inputs = map(_native.pack, (q, k, v, q_regions, k_regions))
    rest = map(_native.pack, (*saved_and_gradients, *gradients))
    _native.cpu().region_attention_backward(*inputs, scale, *rest, torch.get_num_threads())
    return gradients


_native.define(
    "region_attention_forward(Tensor q, Tensor k, Tensor v, Tensor q_regions, Tensor k_regions,"
    " float scale) -> (Tensor out, Tensor lse, Tensor softmax)",
    cpu=_forward_cpu,
    fake=_empty_outputs,
)
_native.define(
    "region_attention_backward(Tensor q, Tensor k, Tensor v, Tensor q_regions, Tensor k_regions,"
    " float scale, Tensor out, Tensor softmax, Tensor grad_out, Tensor? grad_lse)"
    " -> (Tensor, Tensor, Tensor)",
    cpu=_backward_cpu,
    fake=_empty_gradients,
)


class _RegionAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        q_regions: Tensor,
        k_regions: Tensor,
        scale: float,
    ) -> tuple[Tensor, Tensor]:
        inputs = (q, k, v, q_regions, k_regions)
        out, lse, softmax = torch.ops.motion_lab.region_attention_forward(*inputs, scale)
        ctx.save_for_backward(*inputs, out, softmax)
        ctx.scale = scale
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None) -> Any:
        *inputs, out, softmax = ctx.saved_tensors
        if grad_out is None:
            grad_out = torch.zeros_like(out)
        gradients = torch.ops.motion_lab.region_attention_backward(
            *inputs, ctx.scale, out, softmax, grad_out, grad_lse
        )
        return *gradients, None, None, None


def _native_call(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_regions: Tensor,
    k_regions: Tensor,
    *,
    scale: float,
    return_lse: bool,
) -> tuple[Tensor, Tensor]:
    out, lse = _RegionAttention.apply(*distinct(q, k, v, q_regions, k_regions), scale)
    return out, lse


def _reference_call(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_regions: Tensor,
    k_regions: Tensor,
    *,
    scale: float,
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


register(_OP, "native", Backend(_native_call, ("cpu",), _native.problem))
register(_OP, "torch", Backend(_torch_call, ("cpu", "cuda")))
register(_OP, "reference", Backend(_reference_call, ("cpu", "cuda")))
