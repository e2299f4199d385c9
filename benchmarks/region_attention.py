"""Cases of region attention: those of the preset `small`, and 1,024 to 4,096 tokens.

Regions of the latter: one for all ("dense"), 4 or 16 runs of equal length, and 8 that lie scattered
("mixed"), where every token draws its region; these also with a plan, made before the clock starts.
`region_attention_density` is the sweep over the number of regions, for
`python -m benchmarks plot --against-work`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import peers
from benchmarks.harness.case import (
    BOTH,
    Case,
    Contender,
    Inputs,
    Op,
    Output,
    Work,
    native,
    random_tensors,
    size_in_memory,
)
from motion_lab.ops import RegionPlan, region_attention


def _words(region: Tensor) -> Tensor:
    """Region numbers as words with one bit."""
    return torch.ones_like(region).bitwise_left_shift(region)


def _runs(count: int) -> Callable[[int, int], Tensor]:
    return lambda batch, length: _words(torch.arange(length) * count // length).expand(batch, -1)


def _mixed(count: int) -> Callable[[int, int], Tensor]:
    def words(batch: int, length: int) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        return _words(torch.randint(count, (batch, length), generator=generator))

    return words


def _patches(count: int) -> Callable[[int, int], Tensor]:
    """Connected regions of a square map: the cells nearest to each of ``count`` points."""

    def words(batch: int, length: int) -> Tensor:
        side = math.isqrt(length)
        centres = torch.rand(batch, count, 2, generator=torch.Generator().manual_seed(2)) * side
        rows = torch.arange(side, dtype=torch.float32)
        cells = torch.cartesian_prod(rows, rows)
        return _words(torch.cdist(cells.expand(batch, -1, -1), centres).argmin(-1))

    return words


def _case(
    name: str,
    shape: tuple[int, int, int, int],
    regions: Callable[[int, int], Tensor],
    *,
    dtype: torch.dtype = torch.float32,
    devices: tuple[str, ...] = ("cpu", "cuda"),
    quick: bool = False,
    planned: bool = False,
) -> Case:
    batch, heads, length, size = shape

    def make(device: torch.device) -> Inputs:
        # Heads split off a convolution's channels: tokens lie next to each other, not numbers.
        packed = random_tensors(device)(3, batch, heads, size, length).to(dtype)
        q, k, v = packed.transpose(-1, -2).unbind()
        if not name.startswith("small"):
            q, k, v = (x.contiguous() for x in (q, k, v))
        words = regions(batch, length).contiguous().to(device)
        # Made once for many calls, so before the clock starts.
        plan = RegionPlan(words, words) if planned else None
        return {"q": q, "k": k, "v": v, "q_regions": words, "k_regions": words, "plan": plan}

    large = length > 2048
    return Case(
        name,
        make,
        attention_work,
        quick,
        devices=devices,
        dtype=dtype,
        reference_dtype=torch.float32 if large else torch.float64,
        tolerance=1e-4 if dtype == torch.float32 else 2e-2,
    )


def attention_work(inputs: Inputs, passes: str) -> Work:
    """The formula of attention over P pairs that share a region, with heads of size D.

    Forward: reads q, k, v and the words, writes the output; for each pair 2 D flops for the logit,
    2 D for the value and 1 exp. Backward: reads the same, the output and its gradient, writes three
    gradients; for each pair the logit again (2 D, 1 exp) and 2 D for each of dV, dP, dQ and dK.
    """
    q, k, v = (inputs[name] for name in "qkv")
    words = inputs["q_regions"], inputs["k_regions"]
    shared = (words[0][:, :, None] & words[1][:, None, :]) != 0
    pairs = int(shared.sum()) * q.shape[1]
    size = q.shape[3]
    operands = size_in_memory(q, k, v, *words)
    forward = Work(operands + size_in_memory(q), 4 * size * pairs, pairs)
    if passes != BOTH:
        return forward
    backward = operands + 2 * size_in_memory(q) + size_in_memory(q, k, v)
    return Work(
        bytes=operands + size_in_memory(q) + backward,
        flops=(4 + 10) * size * pairs,
        exps=2 * pairs,
    )


def _mask(inputs: Inputs) -> Tensor:
    return (inputs["q_regions"][:, None, :, None] & inputs["k_regions"][:, None, None, :]) != 0


def _sdpa(inputs: Inputs) -> Callable[[], Output]:
    mask = _mask(inputs)
    q, k, v = (inputs[name] for name in "qkv")
    return lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _flex(inputs: Inputs) -> Callable[[], Output]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    q, k, v = (inputs[name] for name in "qkv")
    q_words, k_words = inputs["q_regions"], inputs["k_regions"]

    def shares_region(batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (q_words[batch, i] & k_words[batch, j]) != 0

    # Every size is compiled anew, and torch gives up after eight versions of one function.
    torch._dynamo.reset()
    mask = create_block_mask(
        shares_region, q.shape[0], None, q.shape[2], k.shape[2], device=q.device
    )
    compiled = torch.compile(flex_attention, dynamic=False)
    return lambda: compiled(q, k, v, block_mask=mask)


def _xformers(inputs: Inputs) -> Callable[[], Output]:
    from xformers.ops import memory_efficient_attention

    # (batch, length, heads, size), and the mask as numbers that are added to the logits.
    q, k, v = (inputs[name].transpose(1, 2) for name in "qkv")
    allowed = _mask(inputs).expand(-1, q.shape[2], -1, -1)
    bias = torch.zeros(allowed.shape, dtype=q.dtype, device=q.device)
    bias = bias.masked_fill(~allowed, -torch.inf)
    return lambda: memory_efficient_attention(q, k, v, attn_bias=bias).transpose(1, 2)


_OURS = native("region_attention", region_attention)
_PEERS = (
    Contender("sdpa", _sdpa),
    Contender("flex", _flex, peers.flex_missing),
    Contender("xformers", _xformers, peers.gpu_package("xformers.ops")),
)


def _reference(inputs: Inputs) -> Output:
    return region_attention(**inputs, backend="reference")


OPS = (
    Op(
        "region_attention",
        (
            _case("small-16x16", (4, 4, 256, 16), _patches(6)),
            _case("small-32x32", (4, 4, 1024, 12), _patches(6), quick=True),
            _case("l1024-dense", (2, 8, 1024, 64), _runs(1), quick=True),
            _case("l1024-runs4", (2, 8, 1024, 64), _runs(4)),
            _case("l1024-runs16", (2, 8, 1024, 64), _runs(16), quick=True),
            _case("l1024-mixed8", (2, 8, 1024, 64), _mixed(8), quick=True),
            _case("l1024-mixed8-plan", (2, 8, 1024, 64), _mixed(8), planned=True, quick=True),
            _case("l2048-runs4", (1, 8, 2048, 64), _runs(4)),
            _case("l4096-dense", (1, 8, 4096, 64), _runs(1)),
            _case("l4096-runs4", (1, 8, 4096, 64), _runs(4)),
            _case("l4096-runs16", (1, 8, 4096, 64), _runs(16)),
            _case("l4096-mixed8", (1, 8, 4096, 64), _mixed(8)),
            _case("l4096-mixed8-plan", (1, 8, 4096, 64), _mixed(8), planned=True),
            *(
                _case(
                    name,
                    (1, 8, 4096, 64),
                    regions,
                    dtype=torch.bfloat16,
                    devices=("cuda",),
                    quick=q,
                )
                for name, regions, q in (
                    ("l4096-dense-bf16", _runs(1), False),
                    ("l4096-runs16-bf16", _runs(16), True),
                    ("l4096-mixed8-bf16", _mixed(8), False),
                )
            ),
        ),
        _OURS,
        _reference,
        _PEERS,
    ),
    Op(
        "region_attention_density",
        tuple(
            _case(
                f"{series}-{count}",
                (1, 8, 1024, 64),
                regions(count),
                planned=planned,
                quick=series == "runs" and count == 4,
            )
            for series, regions, planned in (
                ("runs", _runs, False),
                ("scattered", _mixed, False),
                ("scattered with a plan", _mixed, True),
            )
            for count in (1, 2, 4, 8, 16, 32)
        ),
        _OURS,
        _reference,
        _PEERS,
    ),
)
