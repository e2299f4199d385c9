"""Every op that is benchmarked, and finding them and their cases by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from benchmarks import (
    causal_conv1d,
    grid_sample,
    pipeline,
    region_attention,
    selective_scan,
    transformers_mamba,
)
from benchmarks.harness.case import Case, Op
from motion_lab.errors import UsageError

OPS: dict[str, Op] = {
    op.name: op
    for module in (
        selective_scan,
        causal_conv1d,
        grid_sample,
        region_attention,
        pipeline,
        transformers_mamba,
    )
    for op in module.OPS
}


def find_ops(names: Sequence[str]) -> list[Op]:
    """The ops named, all where none is; UsageError for an unknown name."""
    for name in names:
        _check("op", name, OPS)
    return [OPS[name] for name in names or OPS]


def find_cases(ops: Sequence[Op], names: Sequence[str], quick: bool) -> list[tuple[Op, Case]]:
    """The cases named; without names the quick ones, or all. UsageError for an unknown name."""
    every = [(op, case) for op in ops for case in op.cases]
    known = [case.name for _, case in every]
    for name in names:
        _check("case", name, known, f" of {', '.join(op.name for op in ops)}")
    return [
        (op, case)
        for op, case in every
        if (case.name in names if names else case.quick or not quick)
    ]


def peer_names(ops: Iterable[Op]) -> list[str]:
    """The names of all peers of these ops."""
    found = dict.fromkeys(
        peer.name for op in ops for peer in (*op.peers, *(p for c in op.cases for p in c.peers))
    )
    return list(found)


def check_peers(names: Sequence[str], ops: Sequence[Op]) -> None:
    """UsageError for a name that is no peer of these ops."""
    for name in names:
        _check("peer", name, peer_names(ops), f" of {', '.join(op.name for op in ops)}")


def _check(kind: str, name: str, known: Iterable[str], of: str = "") -> None:
    known = list(dict.fromkeys(known))
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"There is no {kind} {name!r}{of}.{hint} There are: {', '.join(known) or 'none'}."
        )
