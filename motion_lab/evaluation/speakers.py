"""People whom no training has met, saying what none has heard, half in other languages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from motion_lab.data.audio import SAMPLES_PER_FRAME
from motion_lab.data.synthetic.identity import Identity
from motion_lab.data.synthetic.sentences import OTHER_LANGUAGES, random_sentence
from motion_lab.data.synthetic.speech import (
    HELD_OUT_VOICES,
    Speech,
    placed,
    sample_voice,
    speak,
)
from motion_lab.data.synthetic.worlds import HEADS, World
from motion_lab.data.video import FPS
from motion_lab.errors import UsageError

NAME = "speakers"
"""What results call this distribution; whatever changes it changes its name."""
_WORLD = 741_130  # first number of every speaker's random stream; training's begin with its seed


class Speaker(NamedTuple):
    """One person saying one thing for F frames."""

    language: str  # espeak-ng's code
    identity: Identity
    speech: Speech  # of 640 F samples
    motion: np.ndarray  # (F, 16), data.synthetic.parameters.MOTION; of a body (F, 26)


@dataclass(frozen=True)
class EvalSpeakers:
    """Held-out speakers, every other one in a language that training never speaks.

    Heads, or with the world of bodies upper bodies that gesture.

    Speaker i depends on `seed`, `seconds` and i alone.
    """

    sentences: int
    seconds: float
    seed: int
    world: World = HEADS

    def __post_init__(self) -> None:
        if self.sentences < 2:
            raise UsageError(f"there must be at least two sentences, got {self.sentences}")
        if self.seconds < 2:
            raise UsageError(f"a clip must last at least two seconds, got {self.seconds:g}")

    def __len__(self) -> int:
        return self.sentences

    def __iter__(self) -> Iterator[Speaker]:
        return (self.speaker(index) for index in range(self.sentences))

    def __str__(self) -> str:
        who = "" if self.world is HEADS else f" by {self.world.name}"
        return f"{self.sentences} sentences{who} of {self.seconds:g} s, seed {self.seed}"

    def protocol(self) -> dict[str, Any]:
        """What defines the speakers, for results."""
        return {
            "speakers": NAME if self.world is HEADS else f"{NAME}, {self.world.name}",
            "sentences": self.sentences,
            "seconds": self.seconds,
            "seed": self.seed,
            "languages": ["en", *OTHER_LANGUAGES],
        }

    def speaker(self, index: int) -> Speaker:
        """Speaker number `index`: silence, some sentences, silence."""
        rng = np.random.default_rng([_WORLD, self.seed, index])
        identity = self.world.sample(rng)
        voice: dict[str, Any] = sample_voice(rng, held_out=True)
        language = "en"
        if index % 2:
            languages = tuple(OTHER_LANGUAGES)
            language = languages[index // 2 % len(languages)]
            # Another language has no accents of its own here, but the held-out speakers.
            variants = [name.partition("+")[2] for name in HELD_OUT_VOICES]
            voice["voice"] = f"{language}+{variants[rng.integers(len(variants))]}"
        text = ""
        while True:
            text = f"{text} {_sentence(rng, language)}".strip()
            speech = speak(text, **voice)
            if speech.phonemes[-1][1] > self.seconds / 2:
                break
        frames = round(self.seconds * FPS)
        # The lead differs, or clips would agree in when they begin whatever is said.
        speech = placed(speech, rng.uniform(0.2, 0.7), frames * SAMPLES_PER_FRAME)
        return Speaker(language, identity, speech, self.world.talk(speech, rng))


def _sentence(rng: np.random.Generator, language: str) -> str:
    if language == "en":
        return random_sentence(rng)
    sentences = OTHER_LANGUAGES[language]
    return sentences[rng.integers(len(sentences))]
