"""A cell's folder: what stands in it before a worker comes, and how far a worker got."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from motion_lab.configs.loading import as_dict, as_yaml
from motion_lab.errors import MotionLabError, UsageError
from motion_lab.evaluation.ablation.plan import Cell
from motion_lab.evaluation.ablation.worker import CELL_FILE, SCORES_FILE
from motion_lab.files import whole_file
from motion_lab.training.journal import LOG_FILE
from motion_lab.training.run import CONFIG_FILE
from motion_lab.training.state import saved_progress

FAILURE_FILE = "failure.txt"
OUTPUT_FILE = "output.log"


@dataclass(frozen=True)
class Status:
    """How far a cell is."""

    step: int
    """Steps of which the training state is saved."""
    seconds: float
    """Time spent in them."""
    trained: bool
    scored: bool
    failure: str
    """Last words of the last attempt, where that failed."""

    def __str__(self) -> str:
        if self.scored:
            return "done"
        if self.failure:
            return "failed"
        if self.trained:
            return "to be evaluated"
        return f"at step {self.step}" if self.step else "to do"


def set_up(cell: Cell, *, evaluate_again: bool = False) -> None:
    """Write what a worker needs to know; scores made on another evaluation are dropped.

    Raises:
        UsageError: the folder was trained with another configuration.
    """
    refuse_other_training(cell)
    cell.folder.mkdir(parents=True, exist_ok=True)
    description = {"stage": cell.config.stage, "evaluation": cell.evaluation}
    if evaluate_again or _read_yaml(cell.folder / CELL_FILE) != description:
        (cell.folder / SCORES_FILE).unlink(missing_ok=True)
    for name, text in (
        (CELL_FILE, yaml.safe_dump(description, sort_keys=False)),
        (CONFIG_FILE, as_yaml(cell.config)),
    ):
        with whole_file(cell.folder / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")


def refuse_other_training(cell: Cell) -> None:
    """Raise UsageError where the folder was trained with another configuration."""
    found = _read_yaml(cell.folder / CONFIG_FILE)
    if found is None or saved_progress(cell.folder) is None:
        return
    there, wanted = dict(_flat(found)), dict(_flat(as_dict(cell.config)))
    for key in sorted(there.keys() | wanted.keys()):
        if there.get(key) != wanted.get(key):
            raise UsageError(
                f"{cell.folder} was trained with {key}={_shown(there, key)}, and the table now "
                f"says {_shown(wanted, key)}: its scores would not belong to this table. Choose "
                f"another folder with -o, or delete {cell.folder}."
            )


def status(cell: Cell) -> Status:
    """How far the cell in the folder is."""
    failure = _read_text(cell.folder / FAILURE_FILE)
    try:
        saved = saved_progress(cell.folder)
    except MotionLabError as error:
        saved, failure = None, str(error)
    step, seconds = (saved.step, saved.seconds) if saved else (0, 0.0)
    scored = (cell.folder / SCORES_FILE).is_file() and not failure
    return Status(step, seconds, step >= cell.config.training.steps, scored, failure)


def logged_step(cell: Cell) -> int:
    """The last step that a running worker has logged."""
    lines = _read_text(cell.folder / LOG_FILE).splitlines()
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError):
            continue  # a line that is being written
    return 0


def last_lines(folder: Path, count: int = 6) -> str:
    """The end of what a worker printed."""
    lines = _read_text(folder / OUTPUT_FILE).replace("\r", "\n").splitlines()
    return "\n".join([line.rstrip() for line in lines if line.strip()][-count:])


def note_failure(cell: Cell, failure: str) -> None:
    """Keep the last words of a failed attempt; none forgets those of an earlier one."""
    path = cell.folder / FAILURE_FILE
    if failure:
        path.write_text(failure + "\n", encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""


def _read_yaml(path: Path) -> Any:
    return yaml.safe_load(_read_text(path)) if path.is_file() else None


def _flat(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by path; a list is compared whole."""
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, tree


def _shown(leaves: Mapping[str, Any], key: str) -> str:
    return json.dumps(leaves[key]) if key in leaves else "nothing"
