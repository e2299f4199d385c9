"""How protocols name the network behind a score."""

from __future__ import annotations

from pathlib import Path

from motion_lab.evaluation.lab.weights import weights_file
from motion_lab.models.weights import fingerprint


def published(what: str, path: str | Path) -> dict[str, str]:
    """A published network, from the file at `path`."""
    return {"backbone": what, "sha256": fingerprint(Path(path))}


def lab(name: str) -> dict[str, str]:
    """One of the small networks that ship, by its name in ``evaluation.lab``."""
    return published(f"lab {name}, trained on synthetic heads", weights_file(name))
