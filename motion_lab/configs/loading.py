"""Read configurations: a preset or a file, then overrides, checked against the schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from motion_lab.configs.schema import SCHEMAS, Config
from motion_lab.errors import UsageError

_HERE = Path(__file__).parent


def presets(stage: str) -> tuple[str, ...]:
    """Names of the presets of ``"base"``, ``"motion"`` or ``"ablation"``, sorted."""
    return tuple(sorted(path.stem for path in (_HERE / stage).glob("*.yaml")))


def load_config(
    stage: str, preset_or_path: str | Path = "small", overrides: Sequence[str] = ()
) -> Config:
    """A whole, checked configuration.

    Args:
        stage: ``"base"`` or ``"motion"``.
        preset_or_path: a preset's name, or the path of a YAML file.
        overrides: ``"training.steps=100"``: a key's path and its value as YAML. A mapping
            replaces what was there; items of lists are reached by number
            (``model.extractors.0.width=64``).

    Raises:
        UsageError: no such preset or file; a key that the schema does not have, has with another
            type, or that nothing sets; named by its path.
    """
    path = find_preset(stage, preset_or_path)
    config: Any = OmegaConf.structured(SCHEMAS[stage])
    try:
        read = OmegaConf.create(path.read_text(encoding="utf-8"))
        if not isinstance(read, DictConfig):
            raise UsageError(f"{path}: expected sections model, data and training.")
        config = OmegaConf.merge(config, read)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {in_short(error)}") from error
    _override(config, overrides)
    try:
        made: Any = OmegaConf.to_object(config)
        for section in (made.model, made.data, made.training):
            section.check()
    except (OmegaConfBaseException, ValueError) as error:
        raise UsageError(f"{path}: {in_short(error)}") from error
    return Config(stage, asdict(made.model), made.data, made.training)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """``["width=64", "low=1e-3"]`` → ``{"width": 64, "low": 0.001}``.

    Raises:
        UsageError: a setting is not KEY=VALUE.
    """
    parsed = OmegaConf.create({})
    _override(parsed, settings)
    made: Any = OmegaConf.to_container(parsed)
    return made


def _override(config: DictConfig, settings: Sequence[str]) -> None:
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key and equals):
            raise UsageError(
                f"{setting!r} is no setting; write KEY=VALUE, for example training.steps=1000."
            )
        try:
            value = OmegaConf.from_dotlist([f"value={text}"])["value"]
            OmegaConf.update(config, key, value, merge=False)
        except (yaml.YAMLError, OmegaConfBaseException) as error:
            raise UsageError(f"{setting!r}: {in_short(error)}") from error


def as_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain dicts, lists, numbers and strings."""
    sections = asdict(config)
    del sections["stage"]
    return sections


def as_yaml(config: Config) -> str:
    """The configuration as :func:`load_config` reads it."""
    return yaml.safe_dump(as_dict(config), sort_keys=False)


def find_preset(stage: str, preset_or_path: str | Path) -> Path:
    """The YAML file of a preset, or the file itself.

    Args:
        stage: folder of the presets: ``"base"``, ``"motion"`` or ``"ablation"``.
        preset_or_path: a preset's name, or the path of a YAML file.

    Raises:
        UsageError: there is no such preset or file.
    """
    text = str(preset_or_path)
    if text.endswith((".yaml", ".yml")) or "/" in text:
        if not Path(text).is_file():
            raise UsageError(f"{text}: there is no such configuration file.")
        return Path(text)
    if text not in presets(stage):
        near = get_close_matches(text, presets(stage), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"there is no preset {text!r} of {stage}.{hint} "
            f"Presets: {', '.join(presets(stage)) or 'none'}; a path must end in .yaml."
        )
    return _HERE / stage / f"{text}.yaml"


def in_short(error: Exception) -> str:
    """OmegaConf's message, with the key's path first and without its lines on internals."""
    first = str(error).split("\n    ", 1)[0].strip()
    key = getattr(error, "full_key", None)
    if "missing mandatory value" in first:
        return f"{key} is set nowhere."
    return f"{key}: {first}" if key else str(error)
