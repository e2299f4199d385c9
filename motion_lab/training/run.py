"""A training run from its beginning: configuration, folder, task, engine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from motion_lab.configs.loading import as_yaml, load_config
from motion_lab.configs.schema import Config
from motion_lab.errors import UsageError
from motion_lab.evaluation.lab.weights import save_half
from motion_lab.files import whole_file
from motion_lab.models.weights import BASE_FILE, fingerprint, resolve_checkpoint
from motion_lab.training.loop import Task, train
from motion_lab.training.state import STATE_FILE

CONFIG_FILE = "config.yaml"


def run(
    stage: str,
    folder: Path,
    *,
    config: str | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    device: torch.device,
) -> None:
    """Train a stage in ``folder``, anew or from where it stopped.

    Args:
        stage: ``"base"``, ``"motion"`` or ``"lab"``.
        folder: the run's own; it also gets the whole configuration, ``config.yaml``, for stage 2 a
            copy of the base model, which makes it a whole checkpoint, and for a lab network its
            weights in half precision, ready to ship.
        config: a preset or a YAML file, ``"small"`` if left out. A resumed run has its own.
        overrides: ``KEY=VALUE`` settings, of a resumed run too.
        resume: go on with the run in ``folder``.
        device: where to compute.

    Raises:
        UsageError: the folder already holds a run, or none to resume, or the configuration is
            wrong.
    """
    if resume:
        if config is not None:
            raise UsageError(
                f"--resume goes on with the configuration in {folder}; leave --config out and "
                "change single settings with KEY=VALUE."
            )
        if not (folder / STATE_FILE).is_file():
            raise UsageError(
                f"{folder} holds no {STATE_FILE}, so there is nothing to resume; leave --resume "
                "out to start there."
            )
        settings = load_config(stage, folder / CONFIG_FILE, overrides)
    else:
        if (folder / STATE_FILE).exists():
            raise UsageError(
                f"{folder} already holds a run; go on with it by --resume, or name another folder."
            )
        settings = load_config(stage, config or "small", overrides)
        folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / CONFIG_FILE) as unfinished:
        unfinished.write_text(as_yaml(settings), encoding="utf-8")
    if stage == "motion":
        _bring_base(settings.data.base, folder)
    torch.manual_seed(settings.training.seed)
    train(make_task(settings, device), settings, folder, resume=resume, device=device)
    if stage == "lab":
        name = settings.model["network"]["name"]
        save_half(name, folder / "lab.safetensors", folder / f"{name}.safetensors")


def _bring_base(checkpoint: str, folder: Path) -> None:
    """Copy the base model that stage 2 learns to move beside it: together they are a checkpoint."""
    given, own = resolve_checkpoint(checkpoint) / BASE_FILE, folder / BASE_FILE
    if not given.is_file():
        raise UsageError(f"data.base={checkpoint}: {given} does not exist; train stage 1 first.")
    if not own.exists():
        with whole_file(own) as unfinished:
            shutil.copyfile(given, unfinished)
    elif fingerprint(own) != fingerprint(given):
        raise UsageError(
            f"{own} is another base model than the one of data.base={checkpoint}, and a motion "
            f"model fits one alone. Train in another folder, or go on with data.base={folder}."
        )


def make_task(config: Config, device: torch.device) -> Task:
    """The task of the configuration's stage, with its model freshly initialised."""
    if config.stage == "base":
        from motion_lab.training.base import BaseTask

        return BaseTask(config, device)
    if config.stage == "lab":
        from motion_lab.training.lab.tasks import make_lab_task

        return make_lab_task(config, device)
    from motion_lab.training.motion import MotionTask

    return MotionTask(config, device)
