"""What the autograd of every op needs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def distinct(*arguments: Any) -> tuple[Any, ...]:
    """The arguments, under torch.compile with a tensor that comes again as a view of itself.

    It refuses an autograd.Function that is given one tensor twice.
    """
    if not torch.compiler.is_compiling():
        return arguments
    found: list[Any] = []
    for x in arguments:
        again = isinstance(x, Tensor) and any(x is y for y in found)
        found.append(x.view_as(x) if again else x)
    return tuple(found)
