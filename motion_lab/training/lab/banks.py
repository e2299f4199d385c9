"""What the lab networks learn from, rendered once to disk: people in many lights, and talkers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.progress import track

from motion_lab.data.audio import SAMPLES_PER_FRAME
from motion_lab.data.synthetic.identity import sample_identity
from motion_lab.data.synthetic.motion import sample_poses
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.renderer import LANDMARK_NAMES, render
from motion_lab.data.synthetic.visemes import talking_motion
from motion_lab.training.talking_heads import speech_of_length

_SAVED_EVERY = 16

Shapes = dict[str, tuple[tuple[int, ...], type]]


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
    ``ValueError``.
    """
    shapes: Shapes = {
        "frames": ((people, pictures, size, size, 3), np.uint8),
        "regions": ((people, pictures, size, size), np.uint8),
        "landmarks": ((people, pictures, len(LANDMARK_NAMES), 2), np.float32),
        "motion": ((people, pictures, len(MOTION)), np.float32),
    }

    def photograph(bank: dict[str, np.ndarray], person: int) -> None:
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
    return People(**_build(folder, settings, shapes, people, photograph))


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

    def film(bank: dict[str, np.ndarray], clip: int) -> None:
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
    return Talkers(**_build(folder, settings, shapes, clips, film))


def _build(
    folder: Path,
    settings: dict[str, int],
    shapes: Shapes,
    count: int,
    make: Callable[[dict[str, np.ndarray], int], None],
) -> dict[str, np.ndarray]:
    """Memory-mapped arrays whose first ``count`` rows ``make`` has filled, one after another."""
    state = folder / "bank.json"
    done = 0
    if state.exists():
        found = json.loads(state.read_text())
        done = found.pop("done")
        if found != settings:
            raise ValueError(f"{folder} holds a bank made with {found}, not {settings}")
    folder.mkdir(parents=True, exist_ok=True)
    bank: dict[str, np.ndarray] = {}
    for name, (shape, dtype) in shapes.items():
        path = folder / f"{name}.npy"
        mode = "r+" if path.exists() else "w+"
        bank[name] = np.lib.format.open_memmap(path, mode=mode, dtype=dtype, shape=shape)
    for row in track(range(done, count), f"Rendering {folder}", disable=done == count):
        make(bank, row)
        if row % _SAVED_EVERY == _SAVED_EVERY - 1 or row == count - 1:
            state.write_text(json.dumps({**settings, "done": row + 1}))
    return bank
