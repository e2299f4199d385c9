"""Which implementation of an op runs.

Every op registers its backends in order of preference. A call uses the first one that exists for
its device; an argument ``backend=``, :func:`use_backend` or the environment variable
``MOTION_LAB_BACKEND`` asks for another by name. Choosing looks at names only, so that it can be
traced by ``torch.compile``; a backend that is chosen but cannot run raises when it is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Backend:
    """One implementation of an op.

    ``call`` takes the op's checked arguments. ``devices`` are the device types it is written for.
    ``unavailable(device_type)`` says why it cannot run there (not built, not installed), or None.
    ``automatic`` backends are used unasked; peers are not. ``notes`` say what is particular about
    one on a type of device.
    """

    call: Callable[..., Any]
    devices: tuple[str, ...]
    unavailable: Callable[[str], str | None] = lambda device: None
    automatic: bool = True
    notes: Mapping[str, str] = field(default_factory=dict)


_OPS: dict[str, dict[str, Backend]] = {}
# op -> the backend asked for; "" stands for every op.
_chosen: dict[str, str] = {}


def register(op: str, name: str, backend: Backend) -> None:
    """Adds a backend to an op, after those it has."""
    entries = _OPS.setdefault(op, {})
    if name in entries:
        raise ValueError(f"{op} already has a backend named {name!r}")
    entries[name] = backend


def default(op: str, device_type: str) -> str:
    """The name of the backend that a call on that type of device uses unasked."""
    for name, backend in _OPS[op].items():
        if backend.automatic and device_type in backend.devices:
            return name
    raise ValueError(f"{op} has no backend for {device_type} tensors")


def select(op: str, device_type: str, name: str | None = None) -> Backend:
    """The backend of ``op`` for a device: the one named, else the one chosen, else the default."""
    entries = _OPS[op]
    asked = name or _chosen.get(op) or _chosen.get("") or default(op, device_type)
    if asked not in entries:
        raise ValueError(
            f"{op} has no backend {asked!r}; it has {', '.join(entries)}. To choose for one op"
            f" alone: use_backend({op}={next(iter(entries))!r}), or"
            f" MOTION_LAB_BACKEND={op}={next(iter(entries))}."
        )
    backend = entries[asked]
    if device_type not in backend.devices:
        raise ValueError(f"the backend {asked!r} of {op} takes no {device_type} tensors")
    return backend


def backends(op: str, device_type: str = "cpu") -> dict[str, str | None]:
    """Each backend of ``op`` and why it cannot run on that type of device (None: it can)."""
    if op not in _OPS:
        raise ValueError(f"there is no op {op!r}; the ops are {', '.join(_OPS)}")
    return {
        name: backend.unavailable(device_type)
        if device_type in backend.devices
        else f"not written for {device_type} tensors"
        for name, backend in _OPS[op].items()
    }


def table() -> dict[str, dict[str, Backend]]:
    """Every op's backends by name, in order of preference."""
    return {op: dict(entries) for op, entries in _OPS.items()}


@contextmanager
def use_backend(name: str | None = None, /, **by_op: str) -> Iterator[None]:
    """Chooses backends inside a ``with`` block, for the whole process.

    ``use_backend("reference")`` chooses for every op, ``use_backend(grid_sample="torch")`` for one.
    """
    wanted = {**({"": name} if name else {}), **by_op}
    _check(wanted)
    before = dict(_chosen)
    _chosen.update(wanted)
    try:
        yield
    finally:
        _chosen.clear()
        _chosen.update(before)


def choose_from_environment() -> None:
    """Applies MOTION_LAB_BACKEND: a name for every op, or ``op=name`` pairs with commas between."""
    wanted = {}
    for part in filter(None, os.environ.get("MOTION_LAB_BACKEND", "").split(",")):
        op, _, name = part.rpartition("=")
        wanted[op.strip()] = name.strip()
    try:
        _check(wanted)
    except ValueError as error:
        raise ValueError(f"MOTION_LAB_BACKEND: {error}") from None
    _chosen.update(wanted)


def _check(wanted: dict[str, str]) -> None:
    for op, name in wanted.items():
        if op and op not in _OPS:
            raise ValueError(f"there is no op {op!r}; the ops are {', '.join(_OPS)}")
        known = _OPS[op] if op else {name for entries in _OPS.values() for name in entries}
        if name not in known:
            raise ValueError(f"no backend is named {name!r}; there are {', '.join(sorted(known))}")
