"""The main job: a portrait, and speech or another source of motion, become a video."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from motion_lab.data.audio import SAMPLE_RATE, Wave, load_audio
from motion_lab.data.portrait import (
    Framing,
    Image,
    crop_portrait,
    find_face,
    frame_face,
    frame_whole,
    load_image,
    paste_back,
)
from motion_lab.data.video import Video, VideoWriter, read_video
from motion_lab.device import resolve_device
from motion_lab.errors import MotionLabError, UsageError
from motion_lab.files import whole_file
from motion_lab.inference.controls import Controls
from motion_lab.inference.motion import (
    FPS,
    load_motion,
    motion_from_speech,
    motion_from_video,
    save_motion,
    to_pictures,
    to_tensor,
)
from motion_lab.inference.stages import Stages
from motion_lab.models.base_model import BaseModel, Source
from motion_lab.models.motion_model import MotionModel
from motion_lab.models.weights import (
    load_base_model,
    load_motion_model,
    motion_fingerprint,
)

_FULL_FRAME_SIDE = 1920  # of a photograph whose --size is not given
_SIZES = range(64, 4097)
_LONGEST_IDLE = 3600  # seconds


@dataclass
class Job:
    """What to make; the fields are the arguments and options of ``motion-lab animate``."""

    portrait: Path
    output: Path
    audio: Path | None = None
    text: str | None = None
    voice: str = "en-us"
    idle: float | None = None  # seconds of silence
    driving: Path | None = None
    motion: Path | None = None
    save_motion: Path | None = None
    checkpoint: str | Path = "small"
    guidance: float | None = None  # None: the model's own
    steps: int | None = None
    seed: int = 0
    controls: Controls = field(default_factory=Controls)
    size: int | None = None
    full_frame: bool = False
    crop: bool = True
    device: str = "auto"

    def check(self) -> None:
        """Raise UsageError where the options do not go together."""
        if self.audio and self.text is not None:
            raise UsageError("Give a recording or --text, not both: each is the voice to be heard.")
        if self.idle is not None and (self.audio or self.text is not None):
            raise UsageError("--idle is for a portrait that says nothing; give no words beside it.")
        if (self.idle is not None) + bool(self.driving) + bool(self.motion) > 1:
            raise UsageError(
                "Give one of --driving, --motion and --idle: each moves the portrait by itself."
            )
        if not (
            self.audio
            or self.text is not None
            or self.idle is not None
            or self.driving
            or self.motion
        ):
            raise UsageError(
                "Nothing moves the portrait: give a recording, --text, --idle, --driving or "
                "--motion."
            )
        if self.idle is not None and not 0 < self.idle <= _LONGEST_IDLE:
            raise UsageError(f"--idle {self.idle}: choose more than 0, up to {_LONGEST_IDLE} s.")
        self.controls.check()
        if self.controls.pose and (self.driving or self.motion):
            raise UsageError("--pose is where speech starts from; --driving and --motion know it.")
        if self.output.suffix.lower() != ".mp4":
            raise UsageError(f"{self.output}: the video is an MP4 file; let its name end in .mp4.")
        if self.size is not None and self.size not in _SIZES:
            raise UsageError(
                f"--size {self.size}: choose from {_SIZES.start} to {_SIZES.stop - 1} pixels."
            )
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"--steps {self.steps}: at least one step is needed.")
        for path in filter(None, (self.output, self.save_motion)):
            _check_writable(path)


class Models(NamedTuple):
    """The two stages, and the fingerprint of their motion features, which saved motion carries."""

    base: BaseModel
    motion: MotionModel | None
    motion_features: str


@dataclass
class Animation:
    """What was made."""

    path: Path
    frames: int
    size: tuple[int, int]  # height, width
    seconds: dict[str, float] = field(default_factory=dict)  # of work, by stage


def load_models(checkpoint: str | Path, device: torch.device, speech: bool = True) -> Models:
    """Load a checkpoint; without ``speech``, which controls need too, stage 1 alone.

    Raises:
        UsageError: there is no such checkpoint.
        MotionLabError: it is incomplete or broken.
    """
    base = load_base_model(checkpoint, device)
    motion = load_motion_model(checkpoint, device) if speech else None
    return Models(base, motion, motion_fingerprint(checkpoint))


@torch.inference_mode()
def animate(job: Job, models: Models | None = None, stages: Stages | None = None) -> Animation:
    """Make the video ``job.output``; it appears whole or not at all.

    Everything that can be checked is checked before the long work starts.

    Args:
        job: what to make.
        models: loaded models to use instead of ``job.checkpoint``, on ``job.device``.
        stages: shows progress and gathers times.

    Raises:
        UsageError: something handed in cannot be used.
        MotionLabError: the checkpoint is broken, the disk is full, ...
    """
    stages = stages or Stages()
    job.check()
    device = resolve_device(job.device)
    batch = 32 if device.type == "cuda" else 8
    with stages.stage("reading the portrait"):
        picture = load_image(job.portrait)
        framing = _frame(job, picture, stages)
    with stages.stage("reading the sound"):
        wave, driving = _sound(job)
    with stages.stage("loading the models"):
        speech = not (job.driving or job.motion)
        models = models or load_models(job.checkpoint, device, speech or job.controls.any)
        saved: Tensor | None = None
        if job.motion:
            saved = load_motion(job.motion, models.motion_features, models.base.motion_size)
        crop, _ = crop_portrait(picture, models.base.image_size, framing)
        source = models.base.encode_source(to_tensor([crop], device))
    compose, size = _composer(job, picture, framing, models.base.image_size)
    heard = None if job.idle else wave
    with VideoWriter(job.output, size, FPS, heard) as video:
        if saved is not None:
            deviations = saved.to(device)
        elif driving is not None:
            with stages.stage("following the driving video", counted=True) as advance:
                deviations = motion_from_video(
                    models.base, driving, str(job.driving), device, batch, advance
                )
        else:
            assert wave is not None
            assert models.motion is not None
            with stages.stage("listening and moving", counted=True) as advance:
                deviations = motion_from_speech(
                    models.motion,
                    wave,
                    source.motion,
                    steps=job.steps,
                    guidance=job.guidance,
                    seed=job.seed,
                    first=job.controls.first(models.motion),
                    advance=advance,
                )
        if models.motion is not None:
            deviations = job.controls.apply(deviations, models.motion, job.seed)
        if not torch.isfinite(deviations).all():
            raise MotionLabError(
                "The model gave motion that is no number: its weights are damaged or --guidance is "
                f"too strong. {job.output} was not written."
            )
        if job.save_motion:
            save_motion(job.save_motion, deviations, models.motion_features)
        with stages.stage("drawing the frames", counted=True) as advance:
            for count, frame in enumerate(render(models.base, source, deviations, batch), 1):
                with stages.clock("writing the video"):
                    video.write(compose(frame))
                advance(count, len(deviations))
    return Animation(job.output, len(deviations), size, stages.seconds)


def render(model: BaseModel, source: Source, deviations: Tensor, batch: int = 4) -> Iterator[Image]:
    """Frames (S, S, 3) uint8 of a portrait moved by deviations (F, M), one after another."""
    for part in deviations.split(batch):
        yield from to_pictures(model.decode(source.expand(len(part)), part).image)


def _frame(job: Job, picture: Image, stages: Stages) -> Framing:
    if not job.crop:
        return frame_whole(picture)
    face = find_face(picture, str(job.portrait))
    if face.faces > 1:
        stages.note(
            f"{job.portrait} shows {face.faces} faces; the largest is animated, at "
            f"x {face.eyes[0]:.0f}, y {face.eyes[1]:.0f}."
        )
    if face.profile:
        stages.note(f"{job.portrait} shows the face from the side; one from the front does better.")
    return frame_face(face)


def _sound(job: Job) -> tuple[Wave | None, Video | None]:
    """The voice to be heard (16 kHz), and the driving video, opened."""
    driving = read_video(job.driving, fps=FPS) if job.driving else None
    if job.audio:
        return load_audio(job.audio), driving
    if job.idle:
        return np.zeros(round(job.idle * SAMPLE_RATE), np.float32), None
    if job.text is not None:
        # Imported here: the extra that it needs is not everybody's.
        from motion_lab.data.synthetic.speech import speak

        return speak(job.text, voice=job.voice).wave, driving
    return (driving.audio if driving else None), driving


def _composer(
    job: Job, picture: Image, framing: Framing, side: int
) -> tuple[Callable[[Image], Image], tuple[int, int]]:
    """What turns a model's frame into the video's, and (height, width) of that."""
    if not job.full_frame:
        size = job.size or side
        return (lambda frame: _resized(frame, (size, size))), (size, size)
    longest = max(picture.shape[:2])
    scale = (job.size or min(longest, _FULL_FRAME_SIDE)) / longest
    height, width = (max(1, round(n * scale)) for n in picture.shape[:2])
    still = _resized(picture, (height, width))
    place = Framing(
        (framing.centre[0] * scale, framing.centre[1] * scale), framing.side * scale, framing.roll
    )
    return (lambda frame: paste_back(frame, still, place)), (height, width)


def _resized(image: Image, size: tuple[int, int]) -> Image:
    if image.shape[:2] == size:
        return image
    how = cv2.INTER_AREA if size[0] < image.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(image, size[::-1], interpolation=how).astype(image.dtype)


def _check_writable(path: Path) -> None:
    """Raise UsageError now where a file could not be written later."""
    # An exception is how `whole_file` is told to leave nothing behind.
    with contextlib.suppress(InterruptedError), whole_file(path):
        raise InterruptedError
