"""Attention within regions: each token names its regions as bits, and pairs sharing a bit attend."""

from __future__ import annotations

import math
from typing import Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lab.ops.reference import region_attention as reference

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_MAX_HEAD_SIZE = 256


def _check_tensors(**named: object) -> None:
    for name, x in named.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"region_attention: {name} must be a tensor, got {type(x).__name__}")


def _check(q: Tensor, k: Tensor, v: Tensor, q_regions: Tensor, k_regions: Tensor) -> None:
    named = {"q": q, "k": k, "v": v, "q_regions": q_regions, "k_regions": k_regions}
    for name, x in named.items():
        if x.device != q.device:
            raise ValueError(
                f"region_attention: {name} must be on q's device {q.device}, got {x.device}"
            )
    for name in ("q", "k", "v"):
        x = named[name]
        if x.ndim != 4:
            raise ValueError(
                f"region_attention: {name} must have 4 dimensions (batch, heads, length, head size),"
                f" got shape {tuple(x.shape)}"
            )
        if x.dtype not in _DTYPES or x.dtype != q.dtype:
            raise TypeError(
                f"region_attention: {name} must have q's dtype, one of float32, float64, bfloat16 "
                f"and float16; q is {q.dtype}, {name} is {x.dtype}"
            )
    batch, heads, q_length, size = q.shape
    if not 1 <= size <= _MAX_HEAD_SIZE:
        raise ValueError(
            f"region_attention: q's head size must be 1 to {_MAX_HEAD_SIZE}, got {size}"
        )
    kv_heads, k_length = k.shape[1], k.shape[2]
    if k.shape[0] != batch or k.shape[3] != size:
        raise ValueError(
            f"region_attention: k must have q's batch {batch} and head size {size}, "
            f"got shape {tuple(k.shape)}"
        )
    if v.shape != k.shape:
        raise ValueError(
            f"region_attention: v must have k's shape {tuple(k.shape)}, got {tuple(v.shape)}"
        )
    if kv_heads != heads and (kv_heads == 0 or heads % kv_heads):
        raise ValueError(
            f"region_attention: k's heads must divide q's {heads} heads, got {kv_heads}"
        )
    for name, length in (("q_regions", q_length), ("k_regions", k_length)):
        x = named[name]
        if x.dtype != torch.int64:
            raise TypeError(f"region_attention: {name} must be int64 bit-fields, got {x.dtype}")
        if x.shape != (batch, length):
            raise ValueError(
                f"region_attention: {name} must have shape (batch, length) = {(batch, length)}, "
                f"got {tuple(x.shape)}"
            )


def _autocast(x: Tensor) -> Tensor:
    """Cast as autocast does for `F.scaled_dot_product_attention`: everything but float64."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind) or x.dtype not in _DTYPES or x.dtype == torch.float64:
        return x
    return x.to(torch.get_autocast_dtype(kind))


def _torch(
    q: Tensor, k: Tensor, v: Tensor, q_regions: Tensor, k_regions: Tensor, *, scale: float
) -> tuple[Tensor, Tensor]:
    """`F.scaled_dot_product_attention` under the dense boolean mask: O(Lq Lk) memory."""
    allowed = reference.allowed_pairs(q_regions, k_regions)
    alive = allowed.any(dim=-1, keepdim=True)
    # SDPA's own backends disagree on rows without keys: here such rows see every key, and the
    # result is zeroed.
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=allowed | ~alive, scale=scale, enable_gqa=k.shape[1] != q.shape[1]
    )
    return out.masked_fill(~alive, 0), torch.empty(0)


_BACKENDS = {"reference": reference.region_attention, "torch": _torch}


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
    _check_tensors(q=q, k=k, v=v, q_regions=q_regions, k_regions=k_regions)
    q, k, v = _autocast(q), _autocast(k), _autocast(v)
    _check(q, k, v, q_regions, k_regions)
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    out, lse = _BACKENDS[backend or "reference"](q, k, v, q_regions, k_regions, scale=factor)
    return (out, lse) if return_lse else out
