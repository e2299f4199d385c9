"""Pictures and a video by which to judge the synthetic heads."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from rich.progress import track

from motion_lab.data.synthetic.clips import talking_clip
from motion_lab.data.synthetic.identity import sample_identity
from motion_lab.data.synthetic.motion import sample_poses
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.renderer import render
from motion_lab.data.video import VideoWriter, contact_sheet
from motion_lab.errors import UsageError
from motion_lab.files import whole_file

_SHEET_SIZE, _SAMPLES = 160, 2
_RANDOM_POSES = 4


class Preview(NamedTuple):
    """What was written, and what the head in the video says."""

    sheet: Path
    video: Path
    text: str


def write_preview(folder: Path, *, seed: int = 0, identities: int = 8, size: int = 256) -> Preview:
    """Write ``heads.png``, rows of poses of `identities` heads, and ``talking.mp4`` at `size`².

    Raises UsageError for a folder that cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    threads = torch.get_num_threads()
    frames: list[np.ndarray] = []
    for person in track(range(identities), "Rendering heads"):
        rng = np.random.default_rng([seed, person])
        motion = np.concatenate([_expressions(), sample_poses(rng, _RANDOM_POSES)])
        identity = sample_identity(rng)
        frames += [*render(identity, motion, _SHEET_SIZE, samples=_SAMPLES, threads=threads).image]
    sheet = folder / "heads.png"
    _write_png(sheet, contact_sheet(frames, len(motion)))

    clip = talking_clip(np.random.default_rng([seed, identities]))
    video = folder / "talking.mp4"
    with VideoWriter(video, size, audio=clip.wave) as writer:
        pictures = clip.frames(size, samples=_SAMPLES, threads=threads)
        for frame in track(pictures, "Rendering speech", total=len(clip.motion)):
            writer.write(frame)
    return Preview(sheet, video, clip.text)


def _expressions() -> np.ndarray:
    """At rest, mouth open, eyes shut over a smile, and turned."""
    poses = np.zeros((4, len(MOTION)), np.float32)
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
