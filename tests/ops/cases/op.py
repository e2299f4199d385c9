"""How the table describes an op, the targets that run it, and what counts as right."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from motion_lab.ops import backends
from motion_lab.ops._backends import table

Arguments = dict[str, Any]  # of an op, by keyword
Results = dict[str, Tensor]
Call = Callable[[Arguments, str], Results]  # the arguments, and the backend's name
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def normal(draw: torch.Generator, *shape: int, dtype: torch.dtype) -> Tensor:
    """Normal numbers, the same for every dtype up to their rounding."""
    return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)


def _wide(x: Tensor, *sizes: int) -> Tensor:
    """Memory to lay a tensor out in; what is between its elements must not be read."""
    return x.new_full(sizes, math.nan if x.is_floating_point() else torch.iinfo(x.dtype).max)


def _every_second(x: Tensor) -> Tensor:
    return _wide(x, *x.shape[:-1], 2 * x.shape[-1] + 1)[..., 1::2].copy_(x)


def _part(x: Tensor) -> Tensor:
    inside = tuple(slice(2, 2 + size) for size in x.shape)
    return _wide(x, *(size + 3 for size in x.shape))[inside].copy_(x)


def _innermost(dim: int, store: Callable[[Tensor], Tensor] = Tensor.contiguous) -> Any:
    return lambda x: store(x.movedim(dim, -1)).movedim(-1, dim) if x.ndim > abs(dim) else x


def _repeated(first: Tensor, x: Tensor) -> Tensor:
    """At a stride of zero; integers stay as they are."""
    return first.expand_as(x) if x.is_floating_point() else x


# The same numbers at other strides; only those that repeat the first ones change them.
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": Tensor.contiguous,
    "channels last": _innermost(1),
    "batch last": _innermost(0),
    "transposed": lambda x: x.mT.contiguous().mT if x.ndim > 1 else x,
    "heads inside": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2) if x.ndim > 2 else x,
    "every second": _every_second,
    "a part": _part,
    "part of the channels": _innermost(1, store=_part),
    "expanded": lambda x: _repeated(x[:1], x),
    "one number": lambda x: _repeated(x[(slice(1),) * x.ndim], x),
}


# Of tensors that are one number throughout the gradients cancel, to nothing but noise.
any_layouts = st.lists(
    st.sampled_from([name for name in LAYOUTS if name != "one number"]), min_size=1, max_size=5
).map(tuple)


def lay_out(tensors: Mapping[str, Any], layouts: Iterable[str]) -> dict[str, Any]:
    """Lays the tensors out as named, one after the other, and over again."""
    names = itertools.cycle(layouts)
    return {
        key: LAYOUTS[next(names)](x) if isinstance(x, Tensor) else x for key, x in tensors.items()
    }


@dataclass(frozen=True, kw_only=True)
class Case:
    """Sizes and options of one call; every op has a subclass that makes the arguments."""

    dtypes: tuple[torch.dtype, ...] = FLOATS  # those that the case is worth running in
    layouts: tuple[str, ...] = ("plain",)  # of the tensors, in turn
    seed: int = 0
    targets: tuple[str, ...] = ("cpu", "simt", "cuda")  # those that it does not take too long

    def make(self, dtype: torch.dtype, draw: torch.Generator) -> Arguments:
        """The arguments, of which the main ones have that dtype."""
        raise NotImplementedError

    def arguments(self, dtype: torch.dtype, device: str = "cpu") -> Arguments:
        made = self.make(dtype, torch.Generator().manual_seed(self.seed))
        # Laid out on the device: a copy from one to another is dense.
        return lay_out(moved(made, device), self.layouts)


@dataclass(frozen=True)
class Target:
    """Somewhere that kernels run: a backend, called with tensors on a device."""

    name: str
    device: str
    backend: str
    namespace: str = "motion_lab"

    def written_for(self, op: str) -> bool:
        entry = table()[op].get(self.backend)
        return entry is not None and self.device in entry.devices

    def problem(self, op: str) -> str | None:
        """Why it cannot run on this machine."""
        if self.device == "cuda" and not torch.cuda.is_available():
            return "no CUDA device"
        return backends(op, self.device)[self.backend]

    def marks(self, op: str) -> list[Any]:
        """What pytest is to know of a test of that op on it."""
        if self is CPU:
            return []
        problem = self.problem(op)
        skips = [pytest.mark.skip(reason=problem)] if problem else []
        return [getattr(pytest.mark, self.name), *skips]

    @property
    def ops(self) -> Any:
        """Its torch.library ops."""
        return getattr(torch.ops, self.namespace)

    def has_kernel(self, library_op: str) -> bool:
        key = getattr(torch._C.DispatchKey, self.device.upper())
        overload = getattr(self.ops, library_op, None)
        return overload is not None and overload.default.has_kernel_for_dispatch_key(key)


CPU = Target("cpu", "cpu", "native")
SIMT = Target("simt", "cpu", "simt", "motion_lab_simt")
CUDA = Target("cuda", "cuda", "native")
TARGETS = (CPU, SIMT, CUDA)


@dataclass(frozen=True)
class Part:
    """What a target gives of an op."""

    dtypes: tuple[torch.dtype, ...] = FLOATS
    gradients: bool = True
    core: tuple[str, ...] = ()  # instead of the op's, where those would take too long


# CUDA kernels compute in float32: float64 is the reference's there.
ON_A_GPU = Part(dtypes=(torch.float32, torch.bfloat16, torch.float16))


@dataclass(frozen=True, eq=False, repr=False)
class Op:
    """An op as the battery needs to know it.

    ``call(arguments, backend)`` returns the outputs by name. ``core`` names cases that between them
    go through every path of the kernels: they alone take the costly tests. ``small`` are cases for
    finite differences. In ``twins`` as many arguments as can be are alike, so that one tensor can
    be all of them. ``library`` has for each torch.library op a function that, given a target and
    arguments, yields what to call that op with. ``yardstick`` computes in the arguments' own
    precision what the error is compared with, where the reference is more exact than that. On a
    CPU the cases ``same_bits`` give the same bits at any strides. ``parts`` says of which targets
    the op has only a part.
    """

    name: str
    call: Call
    cases: Mapping[str, Case]
    core: tuple[str, ...]
    twins: Case
    any_case: st.SearchStrategy[Case]
    library: Mapping[str, Callable[[Target, Arguments], Iterable[tuple[Any, ...]]]]
    differentiable: tuple[str, ...] = ()
    small: Mapping[str, Case] = field(default_factory=dict)
    twice_differentiable: bool = False
    yardstick: Call | None = None
    same_bits: tuple[str, ...] = ()
    parts: Mapping[str, Part] = field(default_factory=dict)

    def part(self, target: Target) -> Part:
        whole = Part(gradients=bool(self.differentiable))
        part = self.parts.get(target.name, whole)
        return replace(part, core=part.core or self.core)


def moved(arguments: Arguments, to: Any) -> Arguments:
    """The tensors on another device."""
    return {key: x.to(to) if isinstance(x, Tensor) else x for key, x in arguments.items()}


def dense(arguments: Arguments) -> Arguments:
    """The tensors as contiguous copies."""
    return {
        key: x.clone(memory_format=torch.contiguous_format) if isinstance(x, Tensor) else x
        for key, x in arguments.items()
    }


def widened(arguments: Arguments) -> Arguments:
    """The floats as float64."""
    return {
        key: x.double() if isinstance(x, Tensor) and x.is_floating_point() else x
        for key, x in arguments.items()
    }


def random_gradients(
    outputs: Mapping[str, Tensor], layouts: Iterable[str] = ("plain",)
) -> list[Tensor]:
    """A gradient for each output; the same values for the same shapes in every precision."""
    draw = torch.Generator().manual_seed(99)
    values = {key: normal(draw, *x.shape, dtype=torch.bfloat16).to(x) for key, x in outputs.items()}
    return list(lay_out(values, layouts).values())


def run(
    op: Op,
    arguments: Arguments,
    backend: str,
    *,
    gradients: bool = True,
    layouts: Iterable[str] = ("plain",),
    into: list[Tensor] | None = None,
    call: Call | None = None,
) -> Results:
    """The outputs and, as "d…", the gradients of the arguments.

    They are those of `random_gradients` in the given layouts, or `into`, times the outputs.
    """
    names = [name for name in op.differentiable if gradients and arguments.get(name) is not None]
    leaves = {
        key: x.detach().requires_grad_() if key in names else x for key, x in arguments.items()
    }
    outputs = (call or op.call)(leaves, backend)
    found = {key: x.detach() for key, x in outputs.items()}
    if names:
        results = torch.autograd.grad(
            list(outputs.values()),
            [leaves[name] for name in names],
            into or random_gradients(outputs, layouts),
            materialize_grads=True,
        )
        found |= {f"d{name}": x for name, x in zip(names, results, strict=True)}
    return found


def assert_close_enough(ours: Results, low: Results, truth: Results) -> None:
    """FlashAttention's criterion: at most twice the error that ``low`` has in that precision."""
    assert ours.keys() == truth.keys()
    for name, exact in truth.items():
        assert ours[name].dtype == low[name].dtype, name
        assert ours[name].shape == exact.shape, name
        if not exact.numel():
            continue
        infinite = exact.isinf()
        assert torch.equal(ours[name].double()[infinite], exact.double()[infinite]), name
        error, low_error, size = (
            x.double().masked_fill(infinite, 0).abs().max()
            for x in (ours[name] - exact, low[name] - exact, exact)
        )
        dtype = ours[name].dtype
        allowed = 2 * low_error + (1e-12 if dtype == torch.float64 else 1e-6) * (1 + size)
        assert error <= allowed, f"{name}, {dtype}: error {error:.3g}, allowed {allowed:.3g}"


def assert_nearly_same(found: Results, expected: Results) -> None:
    """For one thing computed in two ways, in the same precision."""
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        size = float(x.nan_to_num(neginf=0).abs().max()) if x.numel() else 0.0
        tolerance = {"rtol": 2 * torch.finfo(x.dtype).eps, "atol": 1e-5 * (1 + size)}
        torch.testing.assert_close(found[name], x, **tolerance)


@functools.cache
def _expected(op: Op, case: Case, dtype: torch.dtype, gradients: bool) -> tuple[Results, Results]:
    """Results in the case's precision, and in float64; both computed on the CPU."""
    arguments = case.arguments(dtype)
    options: dict[str, Any] = {"gradients": gradients, "layouts": case.layouts}
    low = run(op, arguments, "reference", call=op.yardstick, **options)
    return low, run(op, widened(arguments), "reference", **options)


def assert_right(op: Op, case: Case, dtype: torch.dtype, target: Target = CPU) -> None:
    """Holds what a target makes of a case against the float64 reference."""
    gradients = op.part(target).gradients
    arguments = case.arguments(dtype, target.device)
    ours = run(op, arguments, target.backend, gradients=gradients, layouts=case.layouts)
    assert_close_enough(moved(ours, "cpu"), *_expected(op, case, dtype, gradients))
