"""The native backend of `region_attention`: ops over the kernels, and their autograd.

The same functions serve the CPU's kernels and CUDA's, as csrc/region_attention/contract.h has them;
CUDA's want memory to work in besides.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from motion_lab.ops import _native
from motion_lab.ops._autograd import distinct

# Tokens whose words the CUDA kernels class together: kWordTile of contract.h.
WORD_TILE = 32

_INPUTS = (
    "Tensor q, Tensor k, Tensor v, Tensor q_regions, Tensor k_regions, Tensor? q_order,"
    " Tensor? k_order, float scale"
)


def _outputs(q: Tensor, *rest: object) -> tuple[Tensor, Tensor, Tensor]:
    # In q's layout: heads split off (B, L, H D) by a transpose go back by one, without a copy.
    dtype = torch.promote_types(q.dtype, torch.float32)
    lse = torch.empty(q.shape[:3], dtype=dtype, device=q.device)
    return torch.empty_like(q), lse, torch.empty((*lse.shape, 2), dtype=dtype, device=q.device)


def _gradients(q: Tensor, k: Tensor, v: Tensor, *rest: object) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _tile_words(*regions: Tensor) -> list[Tensor]:
    """Room for the union and the intersection of every tile of words."""
    return [
        words.new_empty(words.shape[0], -(-words.shape[1] // WORD_TILE), 2) for words in regions
    ]


def _forward(gpu: bool, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    *inputs, scale = arguments
    outputs = _outputs(*inputs)
    module, place = (_native.gpu_kernels if gpu else _native.cpu_kernels)(outputs[0])
    work = [_tile_words(*inputs[3:5])] if gpu else []
    lists = [[_native.pack(t) for t in tensors] for tensors in (inputs, outputs, *work)]
    module.region_attention_forward(*lists, scale, *place)
    return outputs


def _backward(gpu: bool, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    *inputs, scale, out, softmax, grad_out, grad_lse = arguments
    gradients = _gradients(*inputs)
    module, place = (_native.gpu_kernels if gpu else _native.cpu_kernels)(out)
    work = [[*_tile_words(*inputs[3:5]), torch.empty_like(softmax[..., 0])]] if gpu else []
    given = (out, softmax, grad_out, grad_lse)
    lists = [[_native.pack(t) for t in tensors] for tensors in (inputs, given, gradients, *work)]
    module.region_attention_backward(*lists, scale, *place)
    return gradients


_native.define(
    f"region_attention_forward({_INPUTS}) -> (Tensor out, Tensor lse, Tensor softmax)",
    cpu=partial(_forward, False),
    gpu=partial(_forward, True),
    fake=_outputs,
)
_native.define(
    f"region_attention_backward({_INPUTS}, Tensor out, Tensor softmax, Tensor grad_out,"
    " Tensor? grad_lse) -> (Tensor, Tensor, Tensor)",
    cpu=partial(_backward, False),
    gpu=partial(_backward, True),
    fake=_gradients,
)


class _RegionAttention(torch.autograd.Function):
    """The op by the kernels of a library: `motion_lab` or `motion_lab_simt`."""

    @staticmethod
    def forward(ctx: Any, library: str, *arguments: Any) -> tuple[Tensor, Tensor]:
        *inputs, scale = arguments
        ops = getattr(torch.ops, library)
        out, lse, softmax = ops.region_attention_forward(*inputs, scale)
        ctx.save_for_backward(*inputs, out, softmax)
        ctx.scale = scale
        ctx.backward_op = ops.region_attention_backward
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None) -> Any:
        *inputs, out, softmax = ctx.saved_tensors
        if grad_out is None:
            grad_out = torch.zeros_like(out)
        gradients = ctx.backward_op(*inputs, ctx.scale, out, softmax, grad_out, grad_lse)
        return None, *gradients, None, None, None, None, None


def attention(library: str, *arguments: Any) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp from the arguments of the op's schema."""
    return _RegionAttention.apply(library, *distinct(*arguments))
