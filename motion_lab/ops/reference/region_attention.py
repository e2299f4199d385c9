"""Region attention in plain PyTorch: the definition of right."""

from __future__ import annotations

import torch
from torch import Tensor


def allowed_pairs(q_regions: Tensor, k_regions: Tensor) -> Tensor:
    """The mask as booleans: (B, Lq) and (B, Lk) words -> (B, 1, Lq, Lk), True where a bit is shared."""
    return (q_regions[:, None, :, None] & k_regions[:, None, None, :]) != 0


def region_attention(
    q: Tensor, k: Tensor, v: Tensor, q_regions: Tensor, k_regions: Tensor, *, scale: float
) -> tuple[Tensor, Tensor]:
    """Output (B, H, Lq, D) in q's dtype and log-sum-exp (B, H, Lq), see `motion_lab.ops`.

    Computed in float32, in float64 when q is. A query that shares no bit with any key gives zeros
    and -inf, and its gradients are zero.
    """
    work = torch.promote_types(q.dtype, torch.float32)
    group = q.shape[1] // max(k.shape[1], 1)
    keys, values = (x.to(work).repeat_interleave(group, dim=1) for x in (k, v))
    allowed = allowed_pairs(q_regions, k_regions)
    alive = allowed.any(dim=-1, keepdim=True)
    logits = (q.to(work) @ keys.mT) * scale
    # Rows without keys keep finite logits: a row of -inf would put NaN into the softmax's gradient.
    logits = logits.masked_fill(alive & ~allowed, -torch.inf)
    weights = logits.softmax(dim=-1).masked_fill(~alive, 0)
    lse = logits.logsumexp(dim=-1).masked_fill(~alive[..., 0], -torch.inf)
    return (weights @ values).to(q.dtype), lse
