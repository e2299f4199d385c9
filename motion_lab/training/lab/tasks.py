"""The task of each lab network."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from motion_lab.configs.schema import Config
from motion_lab.errors import UsageError
from motion_lab.training.loop import Task

_TASKS = {
    "landmarks": "motion_lab.training.lab.landmarks:LandmarksTask",
    "sync": "motion_lab.training.lab.sync:SyncTask",
    "features": "motion_lab.training.lab.features:FeaturesTask",
    "face": "motion_lab.training.lab.face:FaceTask",
    "video": "motion_lab.training.lab.video:VideoTask",
}


def make_lab_task(config: Config, device: torch.device) -> Task:
    """The task of ``config.model["network"]``, with its network freshly initialised.

    Raises:
        UsageError: there is no such network.
    """
    name = config.model["network"]["name"]
    if name not in _TASKS:
        raise UsageError(f"model.network: there is no {name!r}; there are {', '.join(_TASKS)}.")
    module, _, attribute = _TASKS[name].partition(":")
    task: Any = getattr(import_module(module), attribute)
    made: Task = task(config, device)
    return made
