"""Results of evaluations on disk, in one form for all of them.

A file says three things: the scores; the protocol, which is all that scores must share to be
comparable; and what was measured and with what, in which results are free to differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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
