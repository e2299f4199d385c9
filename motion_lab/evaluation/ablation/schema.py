"""What an ablation's file contains. A key that does not stand here is refused with its path."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from motion_lab.configs.schema import SCHEMAS

DIRECTIONS = ("higher", "lower", "neither")


@dataclass
class EvaluationConfig:
    """On what every trained cell is scored, by the functions behind `motion-lab evaluate`."""

    seed: int = 1000
    """Which held-out people or sentences; the same for all cells."""
    identities: int | None = None
    """Stage base: how many held-out people."""
    sentences: int | None = None
    """Stage motion: how many held-out sentences …"""
    seconds: float | None = None
    """… of what length (4 if left out), …"""
    samples: int | None = None
    """… how often each is generated (twice if left out), …"""
    metrics: list[Any] | None = None
    """… and which registered metrics are run as well (those of the paper's table IV)."""

    def check(self, stage: str) -> None:
        """Raise ValueError, with its path, for a value that does not make sense."""
        needed = {"base": "identities", "motion": "sentences"}[stage]
        if (getattr(self, needed) or 0) < 2:
            raise ValueError(f"evaluation.{needed} must be at least 2, got {getattr(self, needed)}")
        if self.seed < 0:
            raise ValueError(f"evaluation.seed must be at least 0, got {self.seed}")
        foreign = {
            "base": ("sentences", "seconds", "samples", "metrics"),
            "motion": ("identities",),
        }
        for name in foreign[stage]:
            if getattr(self, name) is not None:
                raise ValueError(f"evaluation.{name} is not for stage {stage}")


@dataclass
class TableConfig:
    """An ablation: a base configuration, what varies, and how variants are compared."""

    title: str = MISSING
    stage: str = MISSING
    """``base`` or ``motion``."""
    config: str = MISSING
    """What every cell starts from: a preset of the stage, or a YAML file."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Changes for every cell: paths of the configuration and their values."""
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Named variants: the settings by which each differs from the base configuration."""
    axes: dict[str, Any] = field(default_factory=dict)
    """Further variation, of which every combination is a row: a path of the configuration and the
    values it takes, in a list or by name."""
    reference: str | None = None
    """The row that all others are compared with; the first one if left out."""
    seeds: list[int] = MISSING
    """Each row is trained once with each, as `training.seed`; the data stay the same."""
    minutes: float | None = None
    """Wall-clock limit of a cell. One that takes longer counts as failed; its training state is
    kept."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    metrics: dict[str, str] = field(default_factory=dict)
    """The table's columns: names of scores, and which way is better: higher, lower or neither."""

    def check(self) -> None:
        """Raise ValueError, with its path, for a value that does not make sense."""
        if self.stage not in SCHEMAS:
            raise ValueError(f"stage must be {' or '.join(SCHEMAS)}, got {self.stage!r}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds must be different numbers from 0 on, got {self.seeds}")
        if self.minutes is not None and self.minutes <= 0:
            raise ValueError(f"minutes must be above 0, got {self.minutes}")
        if not self.metrics:
            raise ValueError("metrics must name at least one score")
        for name, direction in self.metrics.items():
            if direction not in DIRECTIONS:
                raise ValueError(f"metrics.{name} must be {', '.join(DIRECTIONS)}: {direction!r}")
        self.evaluation.check(self.stage)
