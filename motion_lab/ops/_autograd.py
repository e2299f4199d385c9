"""What the autograd of every op needs."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def distinct(*arguments: Any) -> tuple[Any, ...]:
    """The arguments, where a tensor that comes again is a view of itself.

    torch.compile refuses an autograd.Function that is given one tensor twice.
    """
    found: list[Any] = []
    for x in arguments:
        again = isinstance(x, Tensor) and any(x is y for y in found)
        found.append(x.view_as(x) if again else x)
    return tuple(found)
