"""Synthetic heads and upper bodies that speak, seen through the motion encoder of a base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from motion_lab.data.audio import SAMPLES_PER_FRAME
from motion_lab.data.synthetic.identity import Identity
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.renderer import render
from motion_lab.data.synthetic.sentences import random_sentence
from motion_lab.data.synthetic.speech import SILENCE, Speech, placed, sample_voice, speak
from motion_lab.data.synthetic.worlds import BODIES, HEADS, World, portrait_pose
from motion_lab.data.video import FPS
from motion_lab.models.base_model import BaseModel
from motion_lab.training.motion_data import Clip, MotionClips, kept_clips


def talking_heads(
    base: BaseModel,
    folder: Path,
    clips: int = 240,
    held_out: int = 16,
    frames: int = 125,
    silent: float = 0.0,
    seed: int = 0,
) -> MotionClips:
    """Synthetic heads that speak, seen through the motion encoder of `base`.

    Every clip has a face, a voice and sentences of its own. Clips are kept in `folder`, and an
    interrupted build goes on from there: clip i depends on (seed, i) alone.

    Args:
        clips: how many to train on.
        held_out: how many to validate on: other people, sentences and voices.
        frames: length of every clip.
        silent: share of the clips to train on in which nobody speaks.
    """
    return _talking(HEADS, base, folder, clips, held_out, frames, silent, seed)


def talking_bodies(
    base: BaseModel,
    folder: Path,
    clips: int = 240,
    held_out: int = 16,
    frames: int = 125,
    silent: float = 0.0,
    seed: int = 0,
) -> MotionClips:
    """Synthetic upper bodies that speak and gesture, seen through the motion encoder of `base`.

    The portrait shows the arms as they are before the first word. All else as for
    :func:`talking_heads`.
    """
    return _talking(BODIES, base, folder, clips, held_out, frames, silent, seed)


def _talking(
    world: World,
    base: BaseModel,
    folder: Path,
    clips: int,
    held_out: int,
    frames: int,
    silent: float,
    seed: int,
) -> MotionClips:
    kept = folder / f"talking_{world.name}-seed{seed}-{frames}frames-silent{silent:g}"
    return MotionClips(
        _clips(kept / "train", clips, seed, frames, base, world, silent=silent),
        _clips(kept / "held_out", held_out, seed, frames, base, world, held_out=True),
    )


def _clips(
    folder: Path,
    count: int,
    seed: int,
    frames: int,
    base: BaseModel,
    world: World,
    *,
    held_out: bool = False,
    silent: float = 0.0,
) -> list[Clip]:
    def make(index: int) -> Clip:
        rng = np.random.default_rng([seed, held_out, index])
        return film(rng, frames, base, world, held_out=held_out, silent=silent)

    return kept_clips(folder, count, make)


def film(
    rng: np.random.Generator,
    frames: int,
    base: BaseModel,
    world: World = HEADS,
    *,
    held_out: bool = False,
    silent: float = 0.0,
) -> Clip:
    """One clip: somebody new says something new, held-out ones in voices never trained on.

    With probability ``silent`` they say nothing.
    """
    speech = speech_of_length(rng, frames, held_out=held_out)
    if rng.random() < silent:
        speech = Speech(np.zeros_like(speech.wave), ((0.0, frames / FPS, SILENCE),))
    motion = world.talk(speech, rng)
    return seen(base, world.sample(rng), motion, speech.wave)


def seen(base: BaseModel, identity: Identity, motion: np.ndarray, wave: np.ndarray) -> Clip:
    """The clip of somebody who moves (F, P) to a wave (640 F,), seen by the base model."""
    # The portrait comes first: the same person at rest.
    poses = np.concatenate([portrait_pose(motion), motion])
    pictures = render(
        identity, poses, base.image_size, threads=torch.get_num_threads(), channels=("image",)
    ).image
    device = next(base.parameters()).device
    features = []
    with torch.inference_mode():
        for some in torch.from_numpy(pictures).split(64):
            image = some.to(device).movedim(-1, 1).float() / 255
            features.append(base.encode_motion(image).float().cpu())
    md = torch.cat(features).numpy()
    opening = motion[:, MOTION.index("jaw")].copy()
    return Clip(wave, md[1:] - md[0], md[0], opening, motion[:, : len(MOTION)])


def speech_of_length(rng: np.random.Generator, frames: int, *, held_out: bool = False) -> Speech:
    """Random sentences by a random speaker, after a short silence, cut or filled up to `frames`."""
    voice: dict[str, Any] = sample_voice(rng, held_out=held_out)
    spoken = speak(f"{random_sentence(rng)} {random_sentence(rng)}", **voice)
    return placed(spoken, rng.uniform(0.05, 0.4), frames * SAMPLES_PER_FRAME)
