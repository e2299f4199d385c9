"""Results of evaluations on disk, in one form for all of them.

A file says three things: the scores; the protocol, which is all that scores must share to be
comparable; and what was measured and with what, in which results are free to differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from motion_lab import __version__
from motion_lab.errors import UsageError
from motion_lab.files import whole_file


@dataclass(frozen=True)
class Result:
    """What an evaluation found.

    Attributes:
        evaluation: which one: "base", "motion", "videos".
        scores: numbers by name; a mapping among them groups some of one kind.
        protocol: all that two results must agree on before their scores may be compared, as JSON.
        made: what was measured and with what: checkpoint, its SHA-256, device, counts.
        better: by score, "higher" or "lower", where one of them is better.
    """

    evaluation: str
    scores: Mapping[str, Any]
    protocol: Mapping[str, Any]
    made: Mapping[str, Any] = field(default_factory=dict)
    better: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write a JSON file, whole or not at all, with the versions that made it."""
        versions = {
            "motion_lab": __version__,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        content = {**asdict(self), "made": {**self.made, **versions}}
        with whole_file(path) as unfinished:
            unfinished.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Result:
        """Read what :meth:`write` wrote.

        Raises:
            UsageError: there is no such file, or it is no result of an evaluation.
        """
        try:
            content = json.loads(path.read_text())
            return cls(**{key: content[key] for key in cls.__dataclass_fields__})
        except FileNotFoundError as error:
            raise UsageError(f"{path}: there is no such file. Check the name.") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path} is no result of `motion-lab evaluate`. Name a file that it wrote with "
                "--json."
            ) from error


def comparable(results: Mapping[str, Result]) -> None:
    """Check that results may stand in one table.

    Of metrics, those that two results share must agree; a metric of one alone differs from nothing.

    Args:
        results: by the name to give them in errors.

    Raises:
        UsageError: they come from different evaluations or protocols; it names what differs.
    """
    for (first, one), (second, other) in combinations(results.items(), 2):
        if one.evaluation != other.evaluation:
            raise UsageError(
                f"{first} is an evaluation of {one.evaluation} and {second} one of "
                f"{other.evaluation}: they measure different things. Compare results of one kind."
            )
        differences = [
            f"{key} is {json.dumps(a, ensure_ascii=False)} in {first} and "
            f"{json.dumps(b, ensure_ascii=False)} in {second}"
            for key, a, b in _differences(one.protocol, other.protocol)
        ]
        if differences:
            raise UsageError(
                f"{first} and {second} were measured by different protocols, so their scores do "
                f"not compare: {'; '.join(differences)}. Evaluate both the same way."
            )


def _differences(
    one: Mapping[str, Any], other: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Where two protocols part: (key's path, value here, value there)."""
    for key in [*one, *(key for key in other if key not in one)]:
        a, b = one.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _differences(a, b, f"{path}{key}.")
        elif a != b and not (path == "metrics." and (a is None or b is None)):
            yield f"{path}{key}", a, b


def scores_table(results: Mapping[str, Result]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table: a score a row, a result a column.

    An arrow says which way is better, ** marks the best where there are several.
    """
    flat = {name: dict(flat_scores(result.scores)) for name, result in results.items()}
    better = {key: way for result in results.values() for key, way in result.better.items()}
    rows = []
    for key in dict.fromkeys(key for scores in flat.values() for key in scores):
        values = [scores.get(key) for scores in flat.values()]
        known = [value for value in values if value is not None]
        best = None
        if key in better and len(known) > 1:
            best = max(known) if better[key] == "higher" else min(known)
        cells = [
            "–" if value is None else f"**{value:.4g}**" if value == best else f"{value:.4g}"
            for value in values
        ]
        arrow = {"higher": " ↑", "lower": " ↓"}.get(better.get(key, ""), "")
        rows.append([key + arrow, *cells])
    return ["score", *results], rows


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column of words, the others of numbers."""
    rule = ["---", *("---:" for _ in header[1:])]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *rows))


def flat_scores(scores: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """``{"probe_r2": {"yaw": 0.9}}`` → ``("probe_r2.yaw", 0.9)``."""
    for key, value in scores.items():
        if isinstance(value, Mapping):
            yield from flat_scores(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
