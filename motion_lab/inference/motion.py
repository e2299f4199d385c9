"""Where motion comes from: speech, another video, or a file it was saved to.

Motion is a tensor (F, M) of deviations: how far MD moves away from that of the portrait, 25 frames
a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from motion_lab.data.audio import Wave
from motion_lab.data.portrait import Image, crop_portrait, find_face, frame_face
from motion_lab.data.video import Video
from motion_lab.errors import MotionLabError, UsageError
from motion_lab.files import whole_file
from motion_lab.inference.stages import Advance
from motion_lab.models.base_model import BaseModel
from motion_lab.models.motion_model import MotionModel

FPS = 25
_TENSOR = "deviation"


def to_tensor(frames: list[Image], device: torch.device) -> Tensor:
    """Frames (H, W, 3) uint8 as a batch (B, 3, H, W) in [0, 1]."""
    pixels = torch.from_numpy(np.stack(frames)).to(device)
    return pixels.permute(0, 3, 1, 2).float().div_(255).contiguous()


def to_pictures(frames: Tensor) -> npt.NDArray[np.uint8]:
    """A batch (B, 3, H, W) in [0, 1], what lies outside clipped, as frames (B, H, W, 3)."""
    pixels = frames.clamp(0, 1).mul(255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def motion_from_speech(
    model: MotionModel,
    wave: Wave,
    source_motion: Tensor,
    *,
    steps: int | None,
    guidance: float | None,
    seed: int,
    first: Tensor,
    advance: Advance,
) -> Tensor:
    """Motion that goes with a 16 kHz wave (T,): (ceil(T / 640), M), the same for the same seed.

    It starts from the deviation ``first``, (M,).
    """
    # On the CPU whatever the device, so that a seed means the same everywhere.
    generator = torch.Generator().manual_seed(seed)
    deviations = model.generate(
        torch.from_numpy(wave)[None].to(source_motion.device),
        source_motion,
        first=first[None],
        steps=steps,
        guidance=guidance,
        generator=generator,
        progress=advance,
    )
    return deviations[0]


def motion_from_video(
    model: BaseModel, video: Video, name: str, device: torch.device, batch: int, advance: Advance
) -> Tensor:
    """Motion of the person in a video of 25 frames a second, relative to its first frame.

    One framing, that of the first frame's face, serves all frames: a crop that followed the head
    would hide its movement.

    Raises:
        UsageError: there is no face in the first frame.
    """
    frames = iter(video.frames)
    first = next(frames)
    framing = frame_face(find_face(first, f"the first frame of {name}"))
    parts: list[Tensor] = []
    for group in _batches(chain([first], frames), batch):
        crops = [crop_portrait(frame, model.image_size, framing)[0] for frame in group]
        parts.append(model.encode_motion(to_tensor(crops, device)))
        advance(sum(map(len, parts)), None)
    motion = torch.cat(parts)
    return motion - motion[:1]


def _batches(frames: Iterator[Image], size: int) -> Iterator[list[Image]]:
    while group := list(islice(frames, size)):
        yield group


def save_motion(path: Path, deviations: Tensor, fingerprint: str) -> None:
    """Write motion (F, M) with the fingerprint of the motion features that it consists of."""
    with whole_file(path) as unfinished:
        save_file(
            {_TENSOR: deviations.detach().float().cpu().contiguous()},
            unfinished,
            {"fps": str(FPS), "motion_features": fingerprint},
        )


def load_motion(path: Path, fingerprint: str, motion_size: int) -> Tensor:
    """Read what `save_motion` wrote: (F, M).

    Raises:
        UsageError: there is no such file, or its motion belongs to another base model.
        MotionLabError: it is damaged or something else.
    """
    if not path.is_file():
        raise UsageError(f"--motion {path}: there is no such file. Write one with --save-motion.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            deviations = file.get_tensor(_TENSOR)
    except (SafetensorError, OSError) as error:
        raise MotionLabError(
            f"--motion {path} cannot be read as motion ({error}): it is damaged or something else. "
            "Write it again with --save-motion."
        ) from error
    if metadata.get("motion_features") != fingerprint:
        raise UsageError(
            f"--motion {path} was saved with another base model, for which its numbers mean "
            "something else. Give the --checkpoint it was saved with, or save it again."
        )
    if deviations.ndim != 2 or deviations.shape[1] != motion_size or not len(deviations):
        raise MotionLabError(
            f"--motion {path} holds {tuple(deviations.shape)} numbers instead of (frames, "
            f"{motion_size}). Write it again with --save-motion."
        )
    if not torch.isfinite(deviations).all():
        raise MotionLabError(f"--motion {path} holds values that are no numbers. Save it again.")
    return deviations.float()
