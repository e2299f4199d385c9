"""Pictures and a video by which to judge the synthetic heads and upper bodies."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from rich.progress import track

from motion_lab.data.synthetic.clips import talking_clip
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.renderer import render
from motion_lab.data.synthetic.worlds import HEADS, World
from motion_lab.data.video import VideoWriter, contact_sheet
from motion_lab.errors import UsageError
from motion_lab.files import whole_file

_SHEET_SIZE, _SAMPLES = 160, 2
_RANDOM_POSES = 4


class Preview(NamedTuple):
    """What was written, and what is said in the video."""

    sheet: Path
    video: Path
    text: str


def write_preview(
    folder: Path, *, seed: int = 0, identities: int = 8, size: int = 256, world: World = HEADS
) -> Preview:
    """Write ``heads.png``, rows of poses of `identities` heads, and ``talking.mp4`` at `size`².

    Files of bodies are called ``bodies.png`` and ``talking_bodies.mp4``.
    Raises UsageError for a folder that cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    threads = torch.get_num_threads()
    frames: list[np.ndarray] = []
    for person in track(range(identities), f"Rendering {world.name}"):
        rng = np.random.default_rng([seed, person])
        poses = world.poses(rng, _RANDOM_POSES)
        motion = np.concatenate([_expressions(poses.shape[1]), poses])
        identity = world.sample(rng)
        frames += [*render(identity, motion, _SHEET_SIZE, samples=_SAMPLES, threads=threads).image]
    sheet = folder / f"{world.name}.png"
    _write_png(sheet, contact_sheet(frames, len(motion)))

    clip = talking_clip(np.random.default_rng([seed, identities]), world=world)
    video = folder / ("talking.mp4" if world is HEADS else f"talking_{world.name}.mp4")
    with VideoWriter(video, size, audio=clip.wave) as writer:
        pictures = clip.frames(size, samples=_SAMPLES, threads=threads)
        for frame in track(pictures, "Rendering speech", total=len(clip.motion)):
            writer.write(frame)
    return Preview(sheet, video, clip.text)


def _expressions(numbers: int) -> np.ndarray:
    """At rest, mouth open, eyes shut over a smile, and turned, (4, numbers)."""
    poses = np.zeros((4, numbers), np.float32)
    shown: tuple[dict[str, float], ...] = (
        {},
        {"jaw": 0.6, "brow_raise": 0.5},
        {"blink_left": 1.0, "blink_right": 1.0, "smile": 0.8},
        {"yaw": 0.5, "gaze_x": -0.3},
    )
    for pose, values in zip(poses, shown, strict=True):
        for name, value in values.items():
            pose[MOTION.index(name)] = value
    return poses


def _write_png(path: Path, image: np.ndarray) -> None:
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    with whole_file(path) as temporary:
        temporary.write_bytes(data.tobytes())
