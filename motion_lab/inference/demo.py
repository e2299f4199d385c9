"""The first video: a public-domain photograph speaks a sentence."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import skimage.data
from PIL import Image as Pillow

from motion_lab.data.video import contact_sheet, read_video
from motion_lab.files import whole_file
from motion_lab.inference.animate import Animation, Job, Models, animate
from motion_lab.inference.stages import Stages

SENTENCE = (
    "Hello. A moment ago I was a photograph, and nothing about me moved. "
    "Now I can tell you about the stars, and about everything we saw from up there."
)
_PICTURES, _COLUMNS = 24, 6


def demo(
    output: Path,
    *,
    checkpoint: str | Path = "small",
    device: str = "auto",
    models: Models | None = None,
    stages: Stages | None = None,
) -> tuple[Animation, Path]:
    """Animate scikit-image's astronaut (NASA, public domain); also lay out frames of the video.

    Returns what was made, and the path of the contact sheet: a PNG of the same name beside it.
    Raises as `animate` does.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        portrait = Path(folder) / "astronaut.png"
        Pillow.fromarray(skimage.data.astronaut()).save(portrait)
        job = Job(portrait, output, text=SENTENCE, checkpoint=checkpoint, device=device)
        made = animate(job, models, stages)
    return made, write_contact_sheet(made)


def write_contact_sheet(made: Animation) -> Path:
    """Write frames evenly spread over a video to a PNG beside it; return its path."""
    path = made.path.with_suffix(".png")
    step = max(1, made.frames // _PICTURES)
    frames = itertools.islice(read_video(made.path).frames, 0, step * _PICTURES, step)
    with whole_file(path) as unfinished:
        Pillow.fromarray(contact_sheet(frames, _COLUMNS)).save(unfinished, format="PNG")
    return path
