"""Training state on disk: everything needed to go on as if nothing had happened, without pickle."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from motion_lab.errors import MotionLabError
from motion_lab.files import whole_file

STATE_FILE = "state.safetensors"
_UNREADABLE = (SafetensorError, OSError, KeyError, TypeError, ValueError)


class Ema:
    """Exponential moving average of a module's parameters; buffers are copied.

    Early on the average forgets faster, with decay min(decay, (1 + t) / (10 + t)) at step t, so
    that the random initialisation does not linger in it.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = deepcopy(module).requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the module's parameters after step ``step``, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.module.parameters()), list(module.parameters()), weight=1 - decay
        )
        for mine, new in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(new)

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange the average with the module's own weights, exactly; swap again to undo."""
        for mine, other in zip(self._tensors(self.module), self._tensors(module), strict=True):
            kept = other.clone()
            other.copy_(mine)
            mine.copy_(kept)

    @staticmethod
    def _tensors(module: nn.Module) -> list[Tensor]:
        return [*module.parameters(), *module.buffers()]


@dataclass
class Progress:
    """Where a run stands besides its tensors."""

    step: int = 0
    """Steps done, which is also the number of the next one."""
    sums: dict[str, float] = field(default_factory=dict)
    """Sums of the losses since they were last logged."""
    seconds: float = 0.0
    """Time spent in training, over all resumptions."""


def save_state(
    folder: Path,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Write the state file of a run, whole or not at all."""
    tensors = {}
    for prefix, module in modules.items():
        for name, value in module.state_dict().items():
            tensors[f"{prefix}/{name}"] = value
    for index, slots in optimizer.state_dict()["state"].items():
        for name, value in slots.items():
            tensors[f"optimizer/{index}/{name}"] = value
    facts = {"progress": json.dumps(vars(progress)), "torch": torch.__version__}
    with whole_file(folder / STATE_FILE) as unfinished:
        save_file(
            {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
            unfinished,
            facts,
        )


def saved_progress(folder: Path) -> Progress | None:
    """How far the run in a folder is saved, without reading its tensors; None where it is not.

    Raises:
        MotionLabError: the file is truncated or foreign.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return _progress(file.metadata())
    except _UNREADABLE as error:
        raise _broken(path, error) from error


def load_state(
    folder: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer
) -> Progress:
    """Put a saved state back into modules and optimizer.

    Raises:
        MotionLabError: the file is missing, truncated, foreign, or of another model.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise MotionLabError(
            f"{folder} holds no {STATE_FILE}, so there is nothing to resume; start the run anew "
            "without --resume."
        )
    try:
        with safe_open(path, framework="pt") as file:
            progress = _progress(file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except _UNREADABLE as error:
        raise _broken(path, error) from error
    try:
        for prefix, module in modules.items():
            module.load_state_dict(_under(tensors, prefix))
        slots: dict[int, dict[str, Any]] = {}
        for name, value in _under(tensors, "optimizer").items():
            index, _, slot = name.partition("/")
            slots.setdefault(int(index), {})[slot] = value
        _load_optimizer(optimizer, slots)
    except (RuntimeError, ValueError) as error:
        raise MotionLabError(
            f"{path} is the state of another model than {folder / 'config.yaml'} describes, or of "
            f"another version of it: {error}"
        ) from error
    return progress


def _progress(facts: dict[str, str] | None) -> Progress:
    return Progress(**json.loads((facts or {})["progress"]))


def _broken(path: Path, error: Exception) -> MotionLabError:
    return MotionLabError(
        f"{path} is truncated or no training state ({error}). Start the run anew in another "
        "folder, or put back a copy of the file."
    )


def _load_optimizer(optimizer: torch.optim.Optimizer, slots: dict[int, dict[str, Any]]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, own in slots.items():
        for name, value in own.items():
            if index >= len(parameters) or (value.ndim and value.shape != parameters[index].shape):
                raise ValueError(f"the optimizer's slot {index} fits no parameter")
            if value.ndim:
                # Laid out in memory as its parameter: the fused optimizer pairs them by address,
                # and channels-last weights would meet the moments of others.
                own[name] = torch.empty_like(parameters[index], device="cpu").copy_(value)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}
