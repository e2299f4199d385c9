"""Weights of others: tensors or TorchScript, never pickled code."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from motion_lab.errors import UsageError

_NAMED = 5  # missing keys that an error lists


def read_state(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a state dict that ``torch.save`` wrote, whatever it is wrapped in.

    Args:
        path: the file.
        what: what it should hold, for errors.

    Raises:
        UsageError: there is no such file, or it holds anything but tensors by name.
    """
    _expect_file(path, what)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read as the weights of {what}: it is damaged, something else, or "
            f"holds more than tensors, which is refused because it could run code. Name {what}'s "
            "state dict."
        ) from error
    while isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise UsageError(f"{path} holds no tensors by name, where {what}'s state dict belongs.")
    return {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }


def fill(module: nn.Module, state: Mapping[str, Tensor], path: Path, what: str) -> nn.Module:
    """Put tensors into a module of the published structure; ready for use, without gradients.

    Tensors that the module has no place for are left out.

    Raises:
        UsageError: some are missing or of another shape; the message names them.
    """
    wanted = module.state_dict()
    # Older files lack the step counters of batch norms, which nothing here needs.
    needed = [name for name in wanted if not name.endswith("num_batches_tracked")]
    missing = [name for name in needed if name not in state]
    other = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in needed
        if name in state and state[name].shape != wanted[name].shape
    ]
    if missing or other:
        wrong = []
        if missing:
            wrong.append(f"it lacks {_some(missing)}")
        if other:
            wrong.append(f"it has {_some(other)}")
        raise UsageError(f"{path} is not {what}: {'; '.join(wrong)}. Name the file of {what}.")
    module.load_state_dict({name: state[name] for name in needed}, strict=False)
    return module.eval().requires_grad_(False)


def is_script(path: Path) -> bool:
    """Whether a file is TorchScript: its archive holds code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def load_script(path: Path, what: str) -> torch.jit.ScriptModule:
    """A TorchScript module, ready for use.

    Raises:
        UsageError: there is no such file, or it is not TorchScript.
    """
    _expect_file(path, what)
    if not is_script(path):
        raise UsageError(f"{path} is not TorchScript. Name the TorchScript file of {what}.")
    try:
        return torch.jit.load(path, map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be loaded as TorchScript ({error}); copy the file of {what} again."
        ) from error


def _expect_file(path: Path, what: str) -> None:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; {what} is read from one that you name.")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
