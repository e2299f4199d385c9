"""The scores of a plan's cells, gathered from their folders."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from motion_lab import __version__
from motion_lab.errors import MotionLabError, UsageError
from motion_lab.evaluation.ablation.folders import status
from motion_lab.evaluation.ablation.plan import Cell, Plan
from motion_lab.evaluation.ablation.statistics import (
    Difference,
    Spread,
    holm,
    paired_difference,
    spread,
)
from motion_lab.evaluation.ablation.worker import SCORES_FILE
from motion_lab.evaluation.results import Result, comparable, flat_scores


@dataclass
class RowResult:
    """What is known of one row.

    Attributes:
        label: the row's name.
        parameters: of the trained model.
        scores: by metric and seed.
        minutes: of training, by seed.
        failures: last words, by seed.
        waiting: seeds that have neither score nor failure yet.
    """

    label: str
    parameters: int
    scores: dict[str, dict[int, float]] = field(default_factory=dict)
    minutes: dict[int, float] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)

    def spread(self, metric: str) -> Spread:
        """Mean and standard deviation of a metric over seeds."""
        return spread(list(self.scores.get(metric, {}).values()))


@dataclass(frozen=True)
class Results:
    """A table, as far as its cells are done."""

    plan: Plan
    rows: list[RowResult]
    protocol: Mapping[str, Any]
    """On what all cells were evaluated."""

    @property
    def metrics(self) -> dict[str, str]:
        """Names of the columns, and which way is better."""
        return self.plan.table.metrics

    @property
    def reference(self) -> RowResult:
        return next(row for row in self.rows if row.label == self.plan.reference)

    @property
    def others(self) -> list[RowResult]:
        return [row for row in self.rows if row is not self.reference]

    def best(self, metric: str) -> str | None:
        """Label of the row with the best mean; None where no way is better or nothing is known."""
        sign = {"higher": 1, "lower": -1, "neither": 0}[self.metrics[metric]]
        known = [row for row in self.rows if row.spread(metric).seeds]
        if not (sign and known):
            return None
        return max(known, key=lambda row: sign * row.spread(metric).mean).label

    def differences(self) -> dict[tuple[str, str], tuple[Difference, float]]:
        """By (row, metric): the difference from the reference, and its p corrected for all others
        of the table (Holm)."""
        found = {
            (row.label, metric): paired_difference(
                row.scores.get(metric, {}), self.reference.scores.get(metric, {})
            )
            for row in self.others
            for metric in self.metrics
        }
        corrected = holm([difference.p for difference in found.values()])
        return {key: (found[key], p) for key, p in zip(found, corrected, strict=True)}


def gather(plan: Plan, cells: Sequence[Cell], parameters: Mapping[str, int]) -> Results:
    """Read what the cells' folders hold.

    Args:
        plan: the table.
        cells: its cells.
        parameters: of each row's model, by label.

    Raises:
        MotionLabError: cells were scored by different protocols, or no cell has a score of the
            table's name.
    """
    rows = {row.label: RowResult(row.label, parameters[row.label]) for row in plan.rows}
    scored: dict[str, Result] = {}
    known: dict[str, float] = {}
    for cell in cells:
        row, found = rows[cell.row], status(cell)
        if found.step:
            row.minutes[cell.seed] = found.seconds / 60
        if found.failure:
            row.failures[cell.seed] = found.failure
        elif not found.scored:
            row.waiting.append(cell.seed)
        else:
            scored[cell.name] = Result.read(cell.folder / SCORES_FILE)
            values = dict(flat_scores(scored[cell.name].scores))
            known |= values
            for metric in plan.table.metrics:
                if math.isfinite(values.get(metric, math.nan)):
                    row.scores.setdefault(metric, {})[cell.seed] = values[metric]
    try:
        if scored:
            comparable(scored)
    except UsageError as error:
        raise MotionLabError(
            f"{error} The same command with --evaluate-again scores all cells anew, without "
            "training them."
        ) from error
    if known:
        _require_known(plan.table.metrics, known)
    protocol = next(iter(scored.values())).protocol if scored else {}
    return Results(plan, list(rows.values()), protocol)


def machine() -> str:
    """The machine in words: processors and GPU, and the versions that ran on it."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].partition(":")[2].strip() if names else processor
    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ""
    return (
        f"{processor}, {os.cpu_count()} CPUs{gpu}; Motion Lab {__version__}, "
        f"torch {torch.__version__}"
    )


def _require_known(metrics: Mapping[str, str], known: Mapping[str, float]) -> None:
    for metric in metrics:
        if metric not in known:
            near = get_close_matches(metric, known, n=3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise MotionLabError(
                f"metrics: no cell has a score called {metric!r}.{hint} There are "
                f"{', '.join(sorted(known))}. Correct the table and run it again: what is trained "
                "stays."
            )
