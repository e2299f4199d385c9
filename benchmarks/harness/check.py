"""Whether a contender's result is right, before anybody looks at its time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.harness.case import BOTH, Case, Inputs, Op, Output

Values = dict[str, Tensor]
"""Outputs and gradients by name."""


def leaves(inputs: Inputs) -> dict[str, Tensor]:
    """The inputs that are differentiated."""
    return {
        name: x
        for name, x in inputs.items()
        if isinstance(x, Tensor) and x.is_floating_point() and x.requires_grad
    }


def make_inputs(case: Case, device: torch.device, passes: str) -> Inputs:
    """The case's inputs, those of floating point ready for a backward pass in BOTH."""
    inputs = case.make(device)
    if passes == BOTH:
        for x in inputs.values():
            if isinstance(x, Tensor) and x.is_floating_point():
                x.requires_grad_()
    return inputs


def timed_call(
    call: Callable[[], Output], inputs: Inputs, passes: str
) -> Callable[[], tuple[Tensor, ...]]:
    """What one measurement runs: the forward alone, or with the gradients of all leaves."""
    if passes != BOTH:

        def forward() -> tuple[Tensor, ...]:
            with torch.no_grad():
                output = call()
            return output if isinstance(output, tuple) else (output,)

        return forward
    wanted = tuple(leaves(inputs).values())
    with torch.no_grad():
        output = call()
    assert isinstance(output, Tensor), "an op with several outputs is measured forward alone"
    grad = _gradient_like(output)

    def both() -> tuple[Tensor, ...]:
        output = call()
        assert isinstance(output, Tensor)
        return output, *torch.autograd.grad(output, wanted, grad)

    return both


def _gradient_like(output: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    random = torch.randn(output.shape, generator=generator)
    return random.to(output.device, output.dtype)


def named(values: tuple[Tensor, ...], inputs: Inputs, passes: str) -> Values:
    """The results of a timed call by name."""
    if passes != BOTH:
        names = ["output"] if len(values) == 1 else [f"output {i}" for i in range(len(values))]
    else:
        names = ["output", *(f"gradient of {name}" for name in leaves(inputs))]
    return {name: value.detach() for name, value in zip(names, values, strict=True)}


def expected(op: Op, case: Case, device: torch.device, passes: str) -> Values:
    """What the reference gives, computed in the case's ``reference_dtype``."""
    inputs = make_inputs(case, device, passes)
    wide = {
        name: x.detach().to(case.reference_dtype).requires_grad_(x.requires_grad)
        if isinstance(x, Tensor) and x.is_floating_point()
        else x
        for name, x in inputs.items()
    }
    call = timed_call(lambda: op.reference(wide), wide, passes)
    return named(call(), wide, passes)


def error(got: Values, truth: Values) -> tuple[float, str]:
    """The largest error in units of the largest expected value, and where it is.

    Infinite for a shape that differs or a value that is not finite.
    """
    worst = (0.0, "output")
    for name, right in truth.items():
        mine = got[name]
        if mine.shape != right.shape or not torch.isfinite(mine).all():
            return float("inf"), name
        scale = right.abs().max().clamp(min=torch.finfo(right.dtype).tiny)
        found = float((mine.to(right.dtype) - right).abs().max() / scale)
        if found > worst[0]:
            worst = (found, name)
    return worst
