"""Talking clips: a synthetic head or upper body, its motion and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from motion_lab.data.audio import Wave
from motion_lab.data.synthetic.identity import Identity
from motion_lab.data.synthetic.renderer import render
from motion_lab.data.synthetic.sentences import random_sentence
from motion_lab.data.synthetic.speech import TRAINING_VOICES, speak
from motion_lab.data.synthetic.worlds import HEADS, World

_CHUNK = 25  # frames rendered at a time


@dataclass(frozen=True, eq=False)
class Clip:
    """`motion` is (F, 16) at 25 frames a second, of a body (F, 26).

    `wave` (T,) is the speech at 16 kHz.
    """

    identity: Identity
    motion: np.ndarray
    wave: Wave
    text: str

    def frames(self, size: int, *, samples: int = 1, threads: int = 1) -> Iterator[np.ndarray]:
        """The pictures one by one, (size, size, 3) uint8, rendered a second at a time."""
        for start in range(0, len(self.motion), _CHUNK):
            chunk = self.motion[start : start + _CHUNK]
            yield from render(
                self.identity, chunk, size, samples=samples, threads=threads, channels=("image",)
            ).image


def talking_clip(rng: np.random.Generator, text: str | None = None, world: World = HEADS) -> Clip:
    """Somebody random of that world who says `text`, or a random sentence, in a random voice.

    Raises UsageError where the extra that speaks is not installed.
    """
    identity = world.sample(rng)
    text = random_sentence(rng) if text is None else text
    voice = TRAINING_VOICES[rng.integers(len(TRAINING_VOICES))]
    speech = speak(
        text, voice=voice, rate=int(rng.integers(140, 190)), pitch=int(rng.integers(30, 70))
    )
    return Clip(identity, world.talk(speech, rng), speech.wave, text)
