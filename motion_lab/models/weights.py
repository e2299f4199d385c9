"""Weights on disk: safetensors files that carry the configuration to build their model from.

A checkpoint is a folder with ``base.safetensors`` (stage 1) and ``motion.safetensors`` (stage 2).
The second works on the motion features of one particular first, whose motion encoder's SHA-256 it
carries.
"""

from __future__ import annotations

import hashlib
import json
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from motion_lab.errors import MotionLabError, UsageError
from motion_lab.files import whole_file
from registry import RegistryError

if TYPE_CHECKING:
    from motion_lab.models.base_model import BaseModel
    from motion_lab.models.motion_model import MotionModel

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
"""Where the checkpoints that ship with the package lie, one folder a preset."""

BASE_FILE = "base.safetensors"
MOTION_FILE = "motion.safetensors"


def save_weights(path: Path, module: nn.Module, config: dict[str, Any], **metadata: str) -> None:
    """Write a module's parameters and buffers, whole or not at all.

    Args:
        path: the file; an existing one is replaced.
        module: what to save.
        config: what the module is built from; must be representable as JSON.
        metadata: further facts to keep with it, for example ``steps="20000"``.
    """
    tensors = {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
    facts = {**metadata, "model": type(module).__name__, "config": json.dumps(config)}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as unfinished:
        save_file({name: value.contiguous() for name, value in tensors.items()}, unfinished, facts)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, str]]:
    """Read what :func:`save_weights` wrote: tensors by name, configuration, metadata.

    Raises:
        UsageError: there is no such file.
        MotionLabError: the file is truncated, no safetensors file, or not of Motion Lab.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: there is no such weights file.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise MotionLabError(
            f"{path} cannot be read as a safetensors file ({error}); it is truncated or something "
            "else. Copy or train it again."
        ) from error
    try:
        config = json.loads(metadata.pop("config"))
    except (KeyError, ValueError) as error:
        raise MotionLabError(
            f"{path} carries no Motion Lab configuration, so the model it belongs to is unknown. "
            "Name a file that `motion-lab train` wrote."
        ) from error
    return state, config, metadata


def checkpoints() -> tuple[str, ...]:
    """Names of the checkpoints that ship with the package."""
    return tuple(sorted(file.parent.name for file in CHECKPOINTS.glob(f"*/{BASE_FILE}")))


def resolve_checkpoint(name_or_folder: str | Path) -> Path:
    """The folder of a checkpoint, given itself or the name of one that ships with the package.

    Raises:
        UsageError: it is neither.
    """
    text = str(name_or_folder)
    if text in checkpoints():
        return CHECKPOINTS / text
    if Path(text).is_dir():
        return Path(text)
    if Path(text).is_file():
        raise UsageError(f"--checkpoint {text} is a file; name the folder that contains it.")
    near = get_close_matches(text, checkpoints(), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(
        f"--checkpoint {text}: there is no such folder, and no checkpoint of that name ships with "
        f"Motion Lab ({', '.join(checkpoints()) or 'none does'}).{hint}"
    )


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's contents, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def motion_fingerprint(checkpoint: str | Path) -> str:
    """SHA-256 of a checkpoint's motion encoder, in hexadecimal: its settings and its weights.

    Where it is the same, motion features mean the same, however the frames are drawn.
    """
    state, config, _ = load_weights(resolve_checkpoint(checkpoint) / BASE_FILE)
    spec = config.get("model", {}).get("motion_encoder")
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode())
    for name, value in sorted(state.items()):
        if name.startswith("motion_encoder."):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def load_base_model(
    checkpoint: str | Path = "small", device: torch.device | str = "cpu"
) -> BaseModel:
    """Stage 1 of a checkpoint, ready for use (evaluation mode, no gradients).

    Raises:
        UsageError: there is no such checkpoint.
        MotionLabError: its file is broken or belongs to another model.
    """
    from motion_lab.models.base_model import BaseModel

    path = resolve_checkpoint(checkpoint) / BASE_FILE
    state, config, metadata = load_weights(path)
    return _build(BaseModel, path, state, config, metadata, device)


def load_motion_model(
    checkpoint: str | Path = "small", device: torch.device | str = "cpu"
) -> MotionModel:
    """Stage 2 of a checkpoint, ready for use (evaluation mode, no gradients).

    Raises:
        UsageError: there is no such checkpoint.
        MotionLabError: its file is broken, belongs to another model, or was trained on the motion
            features of another stage 1 than the one that lies beside it.
    """
    from motion_lab.models.motion_model import MotionModel

    folder = resolve_checkpoint(checkpoint)
    path = folder / MOTION_FILE
    state, config, metadata = load_weights(path)
    if metadata.get("motion_features") != motion_fingerprint(folder):
        raise MotionLabError(
            f"{path} was trained on the motion features of another {BASE_FILE} than the one beside "
            "it, so the two cannot work together. Put back the right one, or train stage 2 again: "
            "motion-lab train motion."
        )
    return _build(MotionModel, path, state, config, metadata, device)


def _build(
    model: Any,
    path: Path,
    state: dict[str, Tensor],
    config: dict[str, Any],
    metadata: dict[str, str],
    device: torch.device | str,
) -> Any:
    if metadata.get("model") != model.__name__:
        raise MotionLabError(
            f"{path} holds a {metadata.get('model', 'model of unknown kind')}, "
            f"where a {model.__name__} belongs."
        )
    try:
        module = model(**config["model"])
        module.load_state_dict(state)
    except RegistryError as error:
        raise MotionLabError(
            f"{path} needs a component as this installation does not have it: {error} If it comes "
            "from a plugin, install that or name its file with --plugin."
        ) from error
    except (RuntimeError, TypeError, KeyError) as error:
        raise MotionLabError(
            f"{path} does not fit the model that its configuration describes, so it was written by "
            f"another version of Motion Lab or of a plugin: {error}"
        ) from error
    return module.to(device).eval().requires_grad_(False)
