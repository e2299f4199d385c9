"""Region attention in plain PyTorch: the definition of right."""

from __future__ import annotations

import torch
from torch import Tensor


def allowed_pairs(q_regions: Tensor, k_regions: Tensor) -> Tensor:
    """The mask (B, 1, Lq, Lk) of the words (B, Lq) and (B, Lk): True where a bit is shared."""
    return (q_regions[:, None, :, None] & k_regions[:, None, None, :]) != 0


def masked_logits(q: Tensor, k: Tensor, allowed: Tensor, *, scale: float) -> Tensor:
    """Logits (B, H, Lq, Lk), -inf where a pair is not allowed, in float32, float64 when q is.

    Rows without keys keep finite logits: a row of -inf would put NaN into the softmax's gradient.
    """
    work = torch.promote_types(q.dtype, torch.float32)
    keys = _for_each_head(k, q).to(work)
    alive = allowed.any(dim=-1, keepdim=True)
    return (q.to(work) @ keys.mT * scale).masked_fill(alive & ~allowed, -torch.inf)


def log_sum_exp(logits: Tensor, allowed: Tensor) -> Tensor:
    """The logits' log-sum-exp (B, H, Lq), -inf in rows without keys."""
    return logits.logsumexp(dim=-1).masked_fill(~allowed.any(dim=-1), -torch.inf)


def region_attention(
    q: Tensor, k: Tensor, v: Tensor, q_regions: Tensor, k_regions: Tensor, *, scale: float
) -> tuple[Tensor, Tensor]:
    """Output (B, H, Lq, D) in q's dtype and log-sum-exp (B, H, Lq), see `motion_lab.ops`.

    Computed in float32, in float64 when q is. A query that shares no bit with any key gives zeros
    and -inf, and its gradients are zero.
    """
    allowed = allowed_pairs(q_regions, k_regions)
    logits = masked_logits(q, k, allowed, scale=scale)
    weights = logits.softmax(dim=-1).masked_fill(~allowed.any(dim=-1, keepdim=True), 0)
    out = weights @ _for_each_head(v, q).to(weights.dtype)
    return out.to(q.dtype), log_sum_exp(logits, allowed)


def _for_each_head(x: Tensor, q: Tensor) -> Tensor:
    return x.repeat_interleave(q.shape[1] // max(x.shape[1], 1), dim=1)
