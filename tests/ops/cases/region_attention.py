"""The cases of region_attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st

from cases.op import ON_A_GPU, Arguments, Case, Op, Results, Target, any_layouts, normal
from motion_lab.ops import RegionPlan, region_attention

BIT_63 = -(2**63)


@dataclass(frozen=True)
class Attention(Case):
    """Words are drawn from `words`, token by token."""

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
    plan: bool = False
    return_lse: bool = True

    def make(self, dtype: torch.dtype, draw: torch.Generator) -> Arguments:
        shapes = ((self.heads, self.q_length), *((self.kv_heads, self.k_length),) * 2)
        q, k, v = (
            normal(draw, self.batch, *shape, self.size, dtype=torch.float64) for shape in shapes
        )
        regions = []
        for length in (self.q_length, self.k_length):
            index = torch.randint(len(self.words), (self.batch, length), generator=draw)
            index = index.sort().values if self.contiguous else index
            regions.append(torch.tensor(self.words)[index])
        return {
            "q": (q * self.spread).to(dtype),
            "k": k.to(dtype),
            "v": v.to(dtype),
            "q_regions": regions[0],
            "k_regions": regions[1],
            "scale": self.scale,
            # Made of the words that the call gets, wherever they lie by then.
            "plan": RegionPlan if self.plan else None,
            "return_lse": self.return_lse,
        }


GROUPED = Attention(heads=6, kv_heads=2, q_length=33, k_length=97)
CASES = {
    "scattered": Attention(),
    "contiguous": Attention(contiguous=True, q_length=300, k_length=300, words=(1, 2, 4, 8)),
    "overlapping": Attention(words=(1, 3, 6, 5, 7)),
    "some queries without keys": Attention(words=(0, 1, 2)),
    "no pair at all": Attention(words=(0,)),
    "one region": Attention(words=(1,), q_length=129, k_length=65),
    "bit 63": Attention(words=(BIT_63, BIT_63 | 1, 1, 2)),
    "all 64 regions": Attention(words=(*(1 << i for i in range(63)), BIT_63), k_length=200),
    "one token": Attention(q_length=1, k_length=1, words=(1,)),
    "one query": Attention(q_length=1, k_length=130),
    "one key": Attention(q_length=67, k_length=1),
    "no keys": Attention(k_length=0),
    "no queries": Attention(q_length=0),
    "no batch": Attention(batch=0),
    "grouped heads": GROUPED,
    "one key head": Attention(batch=1, heads=4, kv_heads=1, q_length=150),
    "head size 1": Attention(size=1),
    "odd head size": Attention(size=37),
    "largest head size": Attention(size=256, q_length=40, k_length=75),
    "a scale": Attention(scale=0.3),
    "large logits": Attention(spread=40.0, words=(1, 3), k_length=150),
    "equal words": Attention(words=(5,), q_length=64, k_length=64),
    "a plan": Attention(
        plan=True, heads=4, q_length=150, k_length=170, words=(1, 2, 4, 8, 9), layouts=("a part",)
    ),
    "a plan, one region": Attention(plan=True, words=(1,)),
    "small": Attention(1, 2, 1, q_length=9, k_length=70, size=8, words=(1, 2, 3), plan=True),
    "no log-sum-exp": Attention(return_lse=False),
    "heads inside": replace(GROUPED, layouts=("heads inside",)),
    "other strides": replace(GROUPED, layouts=("transposed", "every second", "a part")),
    "expanded": Attention(layouts=("expanded",)),
}


@st.composite
def attentions(draw: st.DrawFn) -> Attention:
    kv_heads = draw(st.integers(1, 3))
    word = st.integers(-(2**63), 2**63 - 1)
    return Attention(
        batch=draw(st.integers(1, 2)),
        heads=kv_heads * draw(st.integers(1, 3)),
        kv_heads=kv_heads,
        q_length=draw(st.integers(0, 90)),
        k_length=draw(st.integers(0, 90)),
        size=draw(st.integers(1, 70)),
        words=tuple(draw(st.lists(word, min_size=1, max_size=5))),
        contiguous=draw(st.booleans()),
        plan=draw(st.booleans()),
        layouts=draw(any_layouts),
    )


def call(arguments: Arguments, backend: str) -> Results:
    if arguments["plan"]:
        plan = arguments["plan"](arguments["q_regions"], arguments["k_regions"])
        arguments = {**arguments, "plan": plan}
    found = region_attention(**arguments, backend=backend)
    return {"out": found[0], "lse": found[1]} if arguments["return_lse"] else {"out": found}


def formula(t: Arguments, backend: str = "") -> Results:
    """Attention as one would write it, in the inputs' own precision throughout."""
    q, group = t["q"], t["q"].shape[1] // t["k"].shape[1]
    k, v = (t[name].repeat_interleave(group, dim=1) for name in "kv")
    allowed = (t["q_regions"][:, None, :, None] & t["k_regions"][:, None, None, :]) != 0
    alive = allowed.any(-1, keepdim=True)
    scale = q.shape[-1] ** -0.5 if t["scale"] is None else t["scale"]
    logits = (q @ k.mT * scale).masked_fill(alive & ~allowed, -torch.inf)
    out = (logits.softmax(-1) @ v).masked_fill(~alive, 0)
    lse = logits.logsumexp(-1).masked_fill(~alive[..., 0], -torch.inf)
    lse = lse.to(torch.promote_types(lse.dtype, torch.float32))
    return {"out": out, "lse": lse} if t["return_lse"] else {"out": out}


def _inputs(t: Arguments) -> Iterator[tuple[Any, ...]]:
    tensors = [t[name] for name in ("q", "k", "v", "q_regions", "k_regions")]
    orders = [words.argsort(dim=1) for words in tensors[3:]]
    for order in ((None, None), orders):
        yield *tensors, *order, 0.5


def _forward(target: Target, t: Arguments) -> Iterator[tuple[Any, ...]]:
    yield from _inputs(t)


def _backward(target: Target, t: Arguments) -> Iterator[tuple[Any, ...]]:
    for inputs in _inputs(t):
        out, lse, softmax = target.ops.region_attention_forward(*inputs)
        for grad_lse in (None, lse):
            yield *inputs, out, softmax, out, grad_lse


# Float64 is the reference's on a GPU, and refused by simt.
REGION_ATTENTION = Op(
    name="region_attention",
    call=call,
    cases=CASES,
    core=("grouped heads", "odd head size", "one key head", "a plan"),
    twins=Attention(q_length=20, k_length=20),
    any_case=attentions(),
    library={"region_attention_forward": _forward, "region_attention_backward": _backward},
    differentiable=("q", "k", "v"),
    yardstick=formula,
    parts={"cuda": ON_A_GPU, "simt": replace(ON_A_GPU, core=("small",))},
    same_bits=("grouped heads", "one key head", "a plan", "small"),
    small={
        "some queries without keys": Attention(
            1, 4, 2, 5, 7, 3, words=(0, 1, 2, 3), return_lse=False
        ),
        "a plan": Attention(1, 2, 2, 6, 7, 3, words=(1, 2), plan=True, return_lse=False),
        "the log-sum-exp": Attention(1, 4, 2, 5, 7, 3, words=(1, 3, 5)),
    },
)
