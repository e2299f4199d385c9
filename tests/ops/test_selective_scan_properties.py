"""What holds between scans, whatever their sizes, options and layouts, gradients included."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cases.op import TARGETS, assert_nearly_same, run
from cases.selective_scan import SELECTIVE_SCAN, call, scans
from motion_lab.ops import selective_scan_step

ON_EVERY_TARGET = pytest.mark.parametrize(
    "target", [pytest.param(t, id=t.name, marks=t.marks("selective_scan")) for t in TARGETS]
)
a_few = settings(max_examples=20, deadline=None, derandomize=True)
SIGNALS = ("u", "delta", "B", "C", "z")


def over_time(t, change):
    """The arguments with what runs in time changed."""
    running = {n: t[n] for n in SIGNALS if t[n] is not None and t[n].ndim > 2}
    return t | {name: change(x) for name, x in running.items()}


def unpacked(data):
    return replace(data.draw(scans(), label="case"), bounds=())


def assert_same_in_both_ways(case, target, other_way, gradients=True):
    t = case.arguments(torch.float32, target.device)
    whole, other = (
        run(SELECTIVE_SCAN, t, target.backend, gradients=gradients, call=way)
        for way in (call, other_way)
    )
    assert_nearly_same(other, whole)


@ON_EVERY_TARGET
@a_few
@given(data=st.data())
def test_cut_anywhere_and_resumed_it_is_the_whole_scan(target, data):
    case = replace(unpacked(data), initial_state=True)
    cut = data.draw(st.integers(0, case.length), label="cut")

    def in_two_pieces(t, backend):
        pieces = [over_time(t, lambda x, s=s: x[..., s]) for s in (slice(cut), slice(cut, None))]
        order = reversed(pieces) if case.reverse else pieces
        outputs, state = [], t["initial_state"]
        for piece in order:
            found = call({**piece, "initial_state": state}, backend)
            outputs.append(found["out"])
            state = found["last_state"]
        out = torch.cat(outputs[::-1] if case.reverse else outputs, dim=-1)
        return {"out": out, "last_state": state}

    assert_same_in_both_ways(case, target, in_two_pieces)


@ON_EVERY_TARGET
@a_few
@given(data=st.data())
def test_packed_sequences_are_as_if_each_were_alone(target, data):
    case = data.draw(scans().filter(lambda case: case.bounds), label="case")
    case = replace(case, initial_state=True)

    def each_alone(t, backend):
        found = []
        for i, (start, end) in enumerate(itertools.pairwise(case.bounds)):
            alone = over_time(t, lambda x, s=slice(start, end): x[..., s])
            state = t["initial_state"][i : i + 1]
            found.append(call({**alone, "initial_state": state, "cu_seqlens": None}, backend))
        return {
            "out": torch.cat([x["out"] for x in found], dim=-1),
            "last_state": torch.cat([x["last_state"] for x in found]),
        }

    assert_same_in_both_ways(case, target, each_alone)


@ON_EVERY_TARGET
@a_few
@given(data=st.data())
def test_in_reverse_it_is_the_flipped_scan_of_what_is_flipped(target, data):
    case = replace(unpacked(data), reverse=True)

    def flipped(t, backend):
        found = call({**over_time(t, lambda x: x.flip(-1)), "reverse": False}, backend)
        return found | {"out": found["out"].flip(-1)}

    assert_same_in_both_ways(case, target, flipped)


@ON_EVERY_TARGET
@a_few
@given(data=st.data())
def test_steps_one_by_one_are_the_scan(target, data):
    case = replace(unpacked(data), initial_state=True, reverse=False)
    # A step has no constant coefficients: its are those of its time.
    groups = next((kind for kind in (case.B, case.C) if kind != "constant"), "1")
    case = replace(case, B=groups, C=groups)

    def step_by_step(t, backend):
        state = t["initial_state"].clone()
        rest = {n: t[n] for n in ("A", "D", "delta_bias", "delta_softplus")}
        outputs = []
        for i in range(case.length):
            now = {n: None if t[n] is None else t[n][..., i] for n in SIGNALS}
            outputs.append(selective_scan_step(state, **now, **rest, backend=backend))
        return {"out": torch.stack(outputs, dim=-1), "last_state": state}

    assert_same_in_both_ways(case, target, step_by_step, gradients=False)
