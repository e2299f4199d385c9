"""What the lab networks learn from, rendered once to disk: people in many lights, and talkers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from motion_lab.data.audio import SAMPLES_PER_FRAME
from motion_lab.data.synthetic.banks import Arrays, Shapes, build_bank
from motion_lab.data.synthetic.identity import sample_identity
from motion_lab.data.synthetic.motion import sample_poses
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.renderer import LANDMARK_NAMES, render
from motion_lab.data.synthetic.visemes import talking_motion
from motion_lab.training.talking_heads import speech_of_length


class People(NamedTuple):
    """P people in K pictures each, every one in other circumstances."""

    frames: np.ndarray  # (P, K, S, S, 3) uint8
    regions: np.ndarray  # (P, K, S, S) uint8, indices of renderer.REGIONS
    landmarks: np.ndarray  # (P, K, L, 2) float32, fractions of the frame
    motion: np.ndarray  # (P, K, 16) float32


class Talkers(NamedTuple):
    """C clips of F frames, each with a person, a voice and sentences of its own."""

    frames: np.ndarray  # (C, F, S, S, 3) uint8
    landmarks: np.ndarray  # (C, F, L, 2) float32, fractions of the frame
    motion: np.ndarray  # (C, F, 16) float32
    wave: np.ndarray  # (C, 640 F) float32, 16 kHz


def build_people(
    folder: Path, people: int, pictures: int, size: int, seed: int, threads: int = 1
) -> People:
    """Render people into ``folder``, or continue or reopen what is there.

    Person p depends on (seed, p) alone. A folder made with other settings is refused with
    ``UsageError``.
    """
    shapes: Shapes = {
        "frames": ((people, pictures, size, size, 3), np.uint8),
        "regions": ((people, pictures, size, size), np.uint8),
        "landmarks": ((people, pictures, len(LANDMARK_NAMES), 2), np.float32),
        "motion": ((people, pictures, len(MOTION)), np.float32),
    }

    def photograph(bank: Arrays, person: int) -> None:
        rng = np.random.default_rng([seed, person])
        identity = sample_identity(rng)
        bank["motion"][person] = sample_poses(rng, pictures)
        for picture in range(pictures):
            shown = render(
                identity.in_circumstances_of(sample_identity(rng)),
                bank["motion"][person, picture : picture + 1],
                size,
                threads=threads,
                channels=("image", "regions", "landmarks"),
            )
            bank["frames"][person, picture] = shown.image[0]
            bank["regions"][person, picture] = shown.regions[0]
            bank["landmarks"][person, picture] = shown.landmarks[0]

    settings = {"people": people, "pictures": pictures, "size": size, "seed": seed}
    return People(**build_bank(folder, settings, shapes, people, photograph))


def build_talkers(
    folder: Path,
    clips: int,
    frames: int,
    size: int,
    seed: int,
    threads: int = 1,
    *,
    held_out: bool = False,
) -> Talkers:
    """Film talking people into ``folder``, or continue or reopen what is there.

    Clip c depends on (seed, c) alone; ``held_out`` ones speak in voices that training never hears.
    """
    shapes: Shapes = {
        "frames": ((clips, frames, size, size, 3), np.uint8),
        "landmarks": ((clips, frames, len(LANDMARK_NAMES), 2), np.float32),
        "motion": ((clips, frames, len(MOTION)), np.float32),
        "wave": ((clips, frames * SAMPLES_PER_FRAME), np.float32),
    }

    def film(bank: Arrays, clip: int) -> None:
        rng = np.random.default_rng([seed, clip])
        speech = speech_of_length(rng, frames, held_out=held_out)
        bank["wave"][clip] = speech.wave
        bank["motion"][clip] = talking_motion(speech, rng)
        shown = render(
            sample_identity(rng),
            bank["motion"][clip],
            size,
            threads=threads,
            channels=("image", "landmarks"),
        )
        bank["frames"][clip], bank["landmarks"][clip] = shown.image, shown.landmarks

    settings = {"clips": clips, "frames": frames, "size": size, "seed": seed, "held_out": held_out}
    return Talkers(**build_bank(folder, settings, shapes, clips, film))
