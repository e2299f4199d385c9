"""Models name a component that breaks its contract, not what then fails because of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from motion_lab.errors import MotionLabError

Spec = str | Mapping[str, Any]
"""A component as a configuration names it: its name, or ``name`` and keyword arguments."""


def expect(kind: str, spec: Spec, what: str, value: Any, shape: tuple[int, ...]) -> None:
    """Raise MotionLabError unless ``value``, which a component gave as ``what``, has this shape."""
    found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if found != shape:
        name = spec if isinstance(spec, str) else spec["name"]
        raise MotionLabError(
            f"{kind} {name!r} gave {found} for {what}, where {shape} belongs. Mend it; "
            f"motion-lab components check {kind} {name} tells all that is wrong with it."
        )
