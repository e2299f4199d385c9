"""Cases of the selective scan and of its single step.

The scan's sizes are those of a Mamba block of 1,536 channels over 2,048 steps, two smaller ones,
and what the preset `small` runs. All have D, z, delta_bias and softplus, as Mamba has.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import peers
from benchmarks.harness.case import (
    BOTH,
    FORWARD,
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
from motion_lab.ops import selective_scan, selective_scan_step

_STREAMS = ("u", "delta", "B", "C", "z")


def _scan_case(name: str, size: tuple[int, int, int, int], quick: bool = False) -> Case:
    batch, dim, length, state = size

    def make(device: torch.device) -> Inputs:
        random = random_tensors(device)
        return {
            "u": random(batch, dim, length),
            "delta": random(batch, dim, length) * 0.5,
            "A": -torch.arange(1.0, state + 1, device=device).repeat(dim, 1),
            "B": random(batch, state, length),
            "C": random(batch, state, length),
            "D": random(dim),
            "z": random(batch, dim, length),
            "delta_bias": random(dim) * 0.5 - 4,
            "delta_softplus": True,
        }

    return Case(name, make, scan_work, quick)


def scan_work(inputs: Inputs, passes: str) -> Work:
    """The formula of a scan, with E = batch · dim · length elements of N states each.

    Forward: reads the streams u, delta, B, C, z and writes y. For each state of an element
    exp(δA) (1 product and 1 exp), (δu)·B (1), h = a h + x (2), y += C h (2); for each element
    softplus (2 exps: exp and log), the gate's exp, and 4 flops for δu, D u and the gate's product.

    Backward: reads the streams and dy, writes the streams' gradients. For each state it finds h
    again (4 flops, 1 exp), carries dh = C dy + a dh (3), and adds to dC (2), dB (2), δ's and u's
    common factor (2), p = dh h a (2), δ's (2) and A's (2) gradient; for each element 3 exps and 12
    flops.
    """
    batch, dim, length = inputs["u"].shape
    elements = batch * dim * length
    states = inputs["A"].shape[1]
    streams = size_in_memory(*(inputs[name] for name in _STREAMS))
    output = size_in_memory(inputs["u"])
    work = Work(
        bytes=streams + output,
        flops=elements * (6 * states + 4),
        exps=elements * (states + 3),
    )
    if passes == FORWARD:
        return work
    assert passes == BOTH
    return Work(
        bytes=streams + output + 2 * streams + output,
        flops=elements * (6 * states + 4 + 19 * states + 12),
        exps=2 * elements * (states + 3),
    )


def _mambapy(inputs: Inputs) -> Callable[[], Tensor]:
    """Mamba's scan around mambapy's parallel scan, which wants (batch, length, dim, state)."""
    from mambapy.pscan import pscan

    def call() -> Tensor:
        u, delta, B, C, z = (inputs[name].transpose(1, 2) for name in _STREAMS)
        d = F.softplus(delta + inputs["delta_bias"]).unsqueeze(-1)
        h = pscan(torch.exp(d * inputs["A"]), d * B.unsqueeze(2) * u.unsqueeze(-1))
        y = (h @ C.unsqueeze(-1)).squeeze(-1) + inputs["D"] * u
        return (y * F.silu(z)).transpose(1, 2)

    return call


def _mamba_ssm(inputs: Inputs) -> Callable[[], Tensor]:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    return lambda: selective_scan_fn(**inputs)


def _reference(inputs: Inputs) -> Output:
    return selective_scan(**inputs, backend="reference")


SCAN = Op(
    "selective_scan",
    (
        _scan_case("b1-d1536-l2048-n16", (1, 1536, 2048, 16)),
        _scan_case("b2-d512-l1000-n16", (2, 512, 1000, 16), quick=True),
        _scan_case("b8-d256-l250-n16", (8, 256, 250, 16), quick=True),
        _scan_case("small-mamba-g", (1, 192, 250, 16)),
        _scan_case("small-mamba-l", (250, 64, 5, 8), quick=True),
    ),
    native("selective_scan", selective_scan),
    _reference,
    (
        Contender("loop", lambda inputs: lambda: _reference(inputs)),
        Contender("mambapy", _mambapy, peers.package("mambapy.pscan")),
        Contender(
            "mamba_ssm",
            _mamba_ssm,
            peers.gpu_package("mamba_ssm.ops.selective_scan_interface"),
        ),
    ),
)


def _make_step(device: torch.device) -> Inputs:
    batch, dim, state = 1, 1536, 16
    random = random_tensors(device)
    return {
        "state": random(batch, dim, state),
        "u": random(batch, dim),
        "delta": random(batch, dim) * 0.5,
        "A": -torch.arange(1.0, state + 1, device=device).repeat(dim, 1),
        "B": random(batch, state),
        "C": random(batch, state),
        "D": random(dim),
        "z": random(batch, dim),
        "delta_bias": random(dim) * 0.5 - 4,
        "delta_softplus": True,
    }


def step_work(inputs: Inputs, passes: str) -> Work:
    """A scan's forward over one step, with the state read and written and A read."""
    batch, dim = inputs["u"].shape
    states = inputs["A"].shape[1]
    parameters = size_in_memory(inputs["A"], inputs["D"], inputs["delta_bias"])
    streams = size_in_memory(*(inputs[name] for name in _STREAMS), inputs["u"])
    return Work(
        bytes=2 * size_in_memory(inputs["state"]) + parameters + streams,
        flops=batch * dim * (6 * states + 4),
        exps=batch * dim * (states + 3),
    )


def _step_with_state(inputs: Inputs, step: Callable[..., Tensor]) -> Output:
    """The result and the state, which was updated in place."""
    return step(**inputs), inputs["state"]


def _mamba_ssm_step(inputs: Inputs) -> Callable[[], Output]:
    from mamba_ssm.ops.triton.selective_state_update import selective_state_update

    names = {"u": "x", "delta": "dt", "delta_bias": "dt_bias", "delta_softplus": "dt_softplus"}
    arguments = {names.get(name, name): value for name, value in inputs.items()}
    return lambda: _step_with_state(arguments, selective_state_update)


def _step_reference(inputs: Inputs) -> Output:
    return _step_with_state(
        inputs, lambda **arguments: selective_scan_step(**arguments, backend="reference")
    )


_native_step = native("selective_scan_step", selective_scan_step)

STEP = Op(
    "selective_scan_step",
    (Case("b1-d1536-n16", _make_step, step_work, quick=True, passes=(FORWARD,)),),
    Contender(
        _native_step.name,
        lambda inputs: (
            lambda: _step_with_state(
                inputs, lambda **arguments: selective_scan_step(**arguments, backend="native")
            )
        ),
        _native_step.missing,
        _native_step.note,
    ),
    _step_reference,
    (
        Contender("loop", lambda inputs: lambda: _step_reference(inputs)),
        Contender(
            "mamba_ssm",
            _mamba_ssm_step,
            peers.gpu_package("mamba_ssm.ops.triton.selective_state_update"),
        ),
    ),
)

OPS = (SCAN, STEP)
