"""What is measured: an op's cases, the work each has to do, and who does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from motion_lab.ops import _backends

FORWARD = "forward"
BOTH = "forward+backward"

Inputs = dict[str, Any]
"""Arguments by name. In BOTH every floating-point tensor among them gets a gradient."""

Output = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class Work:
    """The least that a case has to do, by the formula that its op's file writes down.

    ``bytes`` move between memory and the chip, every operand counted once; ``flops`` are additions
    and multiplications; ``exps`` are values of exp or log. None: not counted.
    """

    bytes: int | None = None
    flops: int | None = None
    exps: int | None = None


@dataclass(frozen=True)
class Setting:
    """What a contender is asked to do, for it to say that it cannot."""

    device: torch.device
    passes: str


@dataclass(frozen=True)
class Contender:
    """Somebody who computes an op: we or a peer.

    ``prepare(inputs)`` does what need not be timed (masks, layouts) and returns the call to time.
    ``missing(setting)`` says why it cannot be had, or None. ``note(device)`` is shown beside the
    result.
    """

    name: str
    prepare: Callable[[Inputs], Callable[[], Output]]
    missing: Callable[[Setting], str | None] = lambda setting: None
    note: Callable[[torch.device], str] = lambda device: ""


@dataclass(frozen=True)
class Case:
    """One size of an op.

    ``make(device)`` gives the inputs, the same ones at every call. ``work(inputs, pass)`` counts.
    ``quick`` cases are those of ``--quick``; ``peers`` take part in this case alone.
    """

    name: str
    make: Callable[[torch.device], Inputs]
    work: Callable[[Inputs, str], Work]
    quick: bool = False
    passes: tuple[str, ...] = (FORWARD, BOTH)
    devices: tuple[str, ...] = ("cpu", "cuda")
    dtype: torch.dtype = torch.float32
    # What the reference computes in; float32 where float64 would need too much memory.
    reference_dtype: torch.dtype = torch.float64
    # Largest error, in units of the largest value of the tensor that is compared.
    tolerance: float = 1e-4
    peers: tuple[Contender, ...] = ()


@dataclass(frozen=True)
class Op:
    """What is benchmarked under one name: cases, ours, the reference that checks, the peers."""

    name: str
    cases: tuple[Case, ...]
    ours: Contender
    reference: Callable[[Inputs], Output]
    peers: tuple[Contender, ...] = ()
    missing: Callable[[], str | None] = lambda: None


def native(op: str, function: Callable[..., Output]) -> Contender:
    """Our own kernel of a function of `motion_lab.ops`, as a contender."""
    entry = _backends.table()[op]["native"]
    return Contender(
        "ours",
        lambda inputs: lambda: function(**inputs, backend="native"),
        lambda setting: _backends.backends(op, setting.device.type)["native"],
        lambda device: entry.notes.get(device.type, ""),
    )


def random_tensors(device: torch.device) -> Callable[..., Tensor]:
    """A function like torch.randn that gives the same numbers on every device and at every run."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator).to(device)


def size_in_memory(*tensors: Tensor | None) -> int:
    """Bytes of the tensors' distinct elements: what an expanded axis repeats is counted once."""
    total = 0
    for tensor in tensors:
        if tensor is not None:
            elements = tensor.element_size()
            for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
                elements *= 1 if stride == 0 else size
            total += elements
    return total
