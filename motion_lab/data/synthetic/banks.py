"""Rendered data on disk: memory-mapped arrays that are filled row by row, and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from motion_lab.errors import UsageError

_SAVED_EVERY = 16

Arrays = dict[str, np.ndarray]
Shapes = Mapping[str, tuple[tuple[int, ...], type]]


def build_bank(
    folder: Path,
    settings: Mapping[str, Any],
    shapes: Shapes,
    count: int,
    make: Callable[[Arrays, int], None],
) -> Arrays:
    """Arrays of these shapes and types, whose rows 0 to ``count`` ``make`` has filled.

    What lies in ``folder`` is reopened, or continued where its making stopped; so ``make(arrays,
    row)`` should depend on the settings and the row alone.

    Raises:
        UsageError: the folder holds a bank made with other settings.
    """
    state = folder / "bank.json"
    done = 0
    if state.exists():
        found = json.loads(state.read_text())
        done = found.pop("done")
        if found != settings:
            raise UsageError(
                f"{folder} holds a bank made with {found}, not {settings}; remove it, or name "
                "another data.folder."
            )
    folder.mkdir(parents=True, exist_ok=True)
    arrays: Arrays = {}
    for name, (shape, dtype) in shapes.items():
        path = folder / f"{name}.npy"
        mode: Any = "r+" if path.exists() else "w+"
        arrays[name] = np.lib.format.open_memmap(path, mode=mode, dtype=dtype, shape=shape)
    for row in track(range(done, count), f"Rendering {folder}", disable=done == count):
        make(arrays, row)
        if row % _SAVED_EVERY == _SAVED_EVERY - 1 or row == count - 1:
            state.write_text(json.dumps({**settings, "done": row + 1}))
    return arrays
