"""Frontends that are models of speech from transformers, loaded from a folder of the user's."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from motion_lab.errors import MotionLabError, UsageError

FRAME = 640  # samples of one video frame: 16 kHz / 25 fps


class SpeechModel(nn.Module):
    """Wave (B, T) at 16 kHz in [-1, 1] → features (B, ceil(T / 640), `features`).

    A model of this kind hears 400 samples every 320. The wave is padded by half of what overlaps,
    so that two of its steps lie evenly within each video frame; a frame's features are their mean.

    The model is used as it is, never trained, and is no part of this module's weights: a
    checkpoint holds the folder's name alone, and the folder must be there when it is used.

    Args:
        folder: what `save_pretrained` writes or a model hub hands out: config.json beside
            model.safetensors. Nothing is downloaded.
        layer: whose output is taken, from 1; 0 for what the layers get, None for the last one's.

    Raises:
        UsageError: transformers is not installed, or the folder does not hold such a model.
        MotionLabError: its weights are broken or do not belong to its configuration.
    """

    model_class: ClassVar[str]
    """The class in transformers."""

    def __init__(self, folder: str, layer: int | None = None) -> None:
        super().__init__()
        model = _load(self.model_class, Path(folder))
        layers = model.config.num_hidden_layers
        if layer is not None and not 0 <= layer <= layers:
            raise UsageError(f"layer must lie in 0..{layers} for the model in {folder}: {layer}")
        self.layer = layers if layer is None else layer
        self.features = model.config.hidden_size
        self.normalise = _normalised(Path(folder))
        # In a tuple, it is no submodule: not trained, not averaged, not saved.
        self._model = (model.eval().requires_grad_(False),)

    def forward(self, wave: Tensor) -> Tensor:
        if wave.ndim != 2 or wave.shape[1] == 0:
            raise ValueError(f"wave must be (B, T) with T > 0, got {tuple(wave.shape)}")
        wave = wave.float()
        if self.normalise:
            variance, mean = torch.var_mean(wave, 1, correction=0, keepdim=True)
            wave = (wave - mean) / (variance + 1e-7).sqrt()
        frames = -(-wave.shape[1] // FRAME)
        margin = (_reach(self._model[0].config) - FRAME // 2) // 2
        heard = F.pad(wave, (margin, frames * FRAME - wave.shape[1] + margin))
        with torch.no_grad():
            states = self._model[0](heard, output_hidden_states=True).hidden_states[self.layer]
        return states.unflatten(1, (frames, 2)).mean(2)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._model[0]._apply(fn, recurse)  # moves along to another device
        return super()._apply(fn, recurse)


def _load(name: str, folder: Path) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            "This audio frontend needs transformers. Install it with: "
            "pip install 'motion-lab[speech]'"
        ) from error
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"{folder} holds no speech model: there is no config.json. Name a folder with the "
            f"files of a {name}, as save_pretrained writes them; nothing is downloaded."
        )
    kind = getattr(transformers, name)
    told = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # of heads that are in the file and not needed here
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        if not isinstance(config, kind.config_class):
            raise UsageError(f"{folder} holds a {config.model_type}, where a {name} belongs.")
        model, report = kind.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise MotionLabError(f"{folder} cannot be read as a {name}: {error}") from error
    finally:
        transformers.logging.set_verbosity(told)
    # Only training ever looks at this one, and not every file has it.
    missing = set(report["missing_keys"]) - {"masked_spec_embed"}
    if missing:
        raise MotionLabError(
            f"{folder} lacks weights of a {name}: {', '.join(sorted(missing)[:3])} and so on. "
            "Copy the model again."
        )
    if math.prod(config.conv_stride) != FRAME // 2:
        raise UsageError(
            f"the model in {folder} takes a step every {math.prod(config.conv_stride)} samples; "
            f"{FRAME // 2} are needed, two to a video frame."
        )
    return model


def _normalised(folder: Path) -> bool:
    """Whether the model was trained on waves of zero mean and unit variance; most are."""
    from transformers import Wav2Vec2FeatureExtractor

    if not (folder / "preprocessor_config.json").is_file():
        return True
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
    return bool(extractor.do_normalize)


def _reach(config: Any) -> int:
    """Samples that one step of the convolutions sees."""
    reach, step = 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        reach += (kernel - 1) * step
        step *= stride
    return reach
