"""The weights of the lab networks, which ship with the package."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from motion_lab.errors import MotionLabError
from motion_lab.models.weights import CHECKPOINTS, load_weights, save_weights

_CLASSES = {
    "landmarks": "motion_lab.evaluation.lab.landmarks:LandmarkNet",
    "sync": "motion_lab.evaluation.lab.sync:SyncNet",
    "features": "motion_lab.components.perceptual.lab_features:LabFeatures",
    "face": "motion_lab.evaluation.lab.face:FaceNet",
    "video": "motion_lab.evaluation.lab.video:VideoNet",
}
NAMES = tuple(_CLASSES)
"""The networks, in the order in which they are trained: `video` sees through `features`."""


def weights_file(name: str) -> Path:
    """Where the weights of a network lie; its SHA-256 belongs into every result made with it."""
    return CHECKPOINTS / "lab" / f"{name}.safetensors"


def build_network(name: str, **arguments: Any) -> nn.Module:
    """An untrained network of :data:`NAMES`."""
    module, _, attribute = _CLASSES[name].partition(":")
    network: nn.Module = getattr(import_module(module), attribute)(**arguments)
    return network


def load_network(name: str, device: torch.device | str = "cpu", path: Path | None = None) -> Any:
    """A trained network in evaluation mode, without gradients for its weights.

    Args:
        name: one of :data:`NAMES`.
        path: a file of `motion-lab train lab` instead of the shipped one.

    Raises:
        UsageError: there is no such file.
        MotionLabError: the file is broken or holds another network.
    """
    path = path or weights_file(name)
    state, config, _ = load_weights(path)
    arguments = dict(config.get("model", {}).get("network", {}))
    found = arguments.pop("name", None)
    if found != name:
        raise MotionLabError(f"{path} holds the network {found!r}, where {name!r} belongs.")
    try:
        module = build_network(name, **arguments)
        module.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise MotionLabError(
            f"{path} does not fit the network {name!r}; it was written by another version: {error}"
        ) from error
    return module.to(device).eval().requires_grad_(False)


def save_half(name: str, trained: Path, path: Path) -> None:
    """Write what training left in the file ``trained`` to ``path`` in half precision."""
    _, config, facts = load_weights(trained)
    save_weights(path, load_network(name, path=trained).half(), config, **facts)
