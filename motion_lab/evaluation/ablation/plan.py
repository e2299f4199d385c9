"""From a table's file to its cells: what is trained and evaluated where."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

import registry
from motion_lab.configs.loading import find_preset, in_short, load_config
from motion_lab.configs.schema import Config
from motion_lab.errors import UsageError
from motion_lab.evaluation.ablation.schema import TableConfig
from registry import RegistryError

SEED = "training.seed"


@dataclass(frozen=True)
class Row:
    """A variant: one line of the table."""

    label: str
    overrides: tuple[str, ...]
    """``KEY=VALUE`` settings on top of the table's base configuration."""

    @property
    def slug(self) -> str:
        """The label as a folder's name."""
        return re.sub(r"[^\w.+=-]+", "-", self.label.lower()).strip("-.")


@dataclass(frozen=True)
class Cell:
    """A row trained with one seed, in a folder of its own."""

    row: str
    seed: int
    folder: Path
    config: Config
    evaluation: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.row}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A checked table."""

    source: str
    """The preset's name or the file that it was read from."""
    overrides: tuple[str, ...]
    """``KEY=VALUE`` settings that were given for every cell besides the file's."""
    table: TableConfig
    rows: tuple[Row, ...]

    @property
    def reference(self) -> str:
        """Label of the row that the others are compared with."""
        return self.table.reference or self.rows[0].label

    def cells(self, folder: Path) -> list[Cell]:
        """All cells, seed by seed, so that a stopped run has compared whole rows.

        Raises:
            UsageError: a setting that the configuration does not have, named by row and path.
        """
        evaluation = asdict(self.table.evaluation)
        return [
            Cell(
                row.label,
                seed,
                folder / row.slug / f"seed{seed}",
                self.config(row, seed),
                evaluation,
            )
            for seed in self.table.seeds
            for row in self.rows
        ]

    def config(self, row: Row, seed: int) -> Config:
        """The whole configuration of a row's cell."""
        everywhere = [*_as_overrides(self.table.settings), *self.overrides]
        try:
            return load_config(
                self.table.stage,
                self.table.config,
                [*everywhere, *row.overrides, f"{SEED}={seed}"],
            )
        except UsageError as error:
            raise UsageError(f"row {row.label!r}: {error}") from error

    def build_models(self) -> dict[str, nn.Module]:
        """A freshly initialised model for every row, which shows whether its components exist.

        Raises:
            UsageError: a component or metric is unknown, or a component refuses its settings; the
                message names the row and, for a name, the nearest ones.
        """
        for metric in self.table.evaluation.metrics or []:
            try:
                registry.METRICS.entry(metric["name"] if isinstance(metric, Mapping) else metric)
            except RegistryError as error:
                raise UsageError(f"evaluation.metrics: {error}") from error
        models = {}
        for row in self.rows:
            config = self.config(row, self.table.seeds[0])
            try:
                if config.stage == "motion":
                    registry.DATASETS.entry(config.data.dataset["name"])
                models[row.label] = _build_model(config)
            except (RegistryError, ValueError, TypeError) as error:
                raise UsageError(f"row {row.label!r}: {error}") from error
        return models


def load_plan(preset_or_path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """Read and check the file of an ablation.

    Args:
        preset_or_path: a preset's name, or the path of a YAML file.
        overrides: ``KEY=VALUE`` settings for every cell, over the file's own.

    Raises:
        UsageError: no such preset or file; a key that the schema does not have or has with another
            type; rows that cannot be told apart.
    """
    path = find_preset("ablation", preset_or_path)
    try:
        read = OmegaConf.create(path.read_text(encoding="utf-8"))
        if not isinstance(read, DictConfig):
            raise UsageError(f"{path}: expected keys such as title, stage, config, rows.")
        merged: Any = OmegaConf.merge(OmegaConf.structured(TableConfig), read)
        table: Any = OmegaConf.to_object(merged)
        table.check()
        rows = tuple(_rows(table))
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{path}: {in_short(error)}") from error
    return Plan(str(preset_or_path), tuple(overrides), table, rows)


def _rows(table: TableConfig) -> Iterator[Row]:
    """Every named row with every combination of the axes' values."""
    if not (table.rows or table.axes):
        raise ValueError("rows or axes must say what varies")
    for section in (table.settings, *table.rows.values(), table.axes):
        if SEED in section:
            raise ValueError(f"{SEED} is set by seeds; leave it out of the settings")
    choices: list[list[tuple[str, dict[str, Any]]]] = []
    if table.rows:
        choices.append(list(table.rows.items()))
    choices += [
        [(label, {key: value}) for label, value in _choices(key, values)]
        for key, values in table.axes.items()
    ]
    seen: dict[str, str] = {}
    labels = []
    for combination in itertools.product(*choices):
        settings = {key: value for _, own in combination for key, value in own.items()}
        row = Row(", ".join(label for label, _ in combination), tuple(_as_overrides(settings)))
        if row.slug in seen or not row.slug:
            raise ValueError(
                f"rows {seen.get(row.slug, '')!r} and {row.label!r} cannot be told apart as "
                "folders; give them other names (an axis may be a mapping of names to values)"
            )
        seen[row.slug] = row.label
        labels.append(row.label)
        yield row
    if table.reference is not None and table.reference not in labels:
        raise ValueError(f"reference: {table.reference!r} is none of the rows {', '.join(labels)}")


def _choices(key: str, values: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(values, list | Mapping) or not values:
        raise ValueError(f"axes.{key} must be a list of values, or a mapping of names to values")
    if isinstance(values, Mapping):
        yield from ((str(label), value) for label, value in values.items())
        return
    yield from ((_label(key, value), value) for value in values)


def _label(key: str, value: Any) -> str:
    """A component by its name, several by theirs, anything else as ``key=value``."""
    if isinstance(value, Mapping) and "name" in value:
        return str(value["name"])
    if isinstance(value, list):
        return "+".join(_label(key, each) for each in value) or "none"
    if isinstance(value, str):
        return value
    return f"{key.rpartition('.')[2]}={json.dumps(value)}"


def _as_overrides(settings: Mapping[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def _build_model(config: Config) -> nn.Module:
    if config.stage == "base":
        from motion_lab.models.base_model import BaseModel

        return BaseModel(**config.model)
    from motion_lab.models.motion_model import MotionModel

    return MotionModel(**config.model)
