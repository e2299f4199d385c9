"""Does a metric rank? True clips of synthetic talkers, harmed at growing doses in known ways."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lab.data.audio import SAMPLES_PER_FRAME, Wave
from motion_lab.data.synthetic.identity import Identity, sample_identity
from motion_lab.data.synthetic.renderer import render
from motion_lab.data.synthetic.speech import sample_voice, speak
from motion_lab.data.synthetic.visemes import talking_motion
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.metrics import build_metrics, measure

_WORDS = (
    "My mother bought a beautiful umbrella at five o'clock, and the baker saw it.",
    "Where did the young man put the purple feather before the show?",
    "Believe me, nobody moves a heavy piano over the bridge in February.",
    "Every morning the neighbour feeds a hundred doves behind the church.",
    "Have you seen both of the yellow boats that vanished in the fog?",
    "Of course the pilot remembers how the river looked from above.",
)


@dataclass(frozen=True, eq=False)
class Talker:
    """A head that nobody trained on, saying a sentence in a voice that nobody trained on.

    `other` is somebody else in the same light, room and clothes.
    """

    identity: Identity
    other: Identity
    motion: np.ndarray  # (F, 16)
    wave: Wave
    size: int

    @functools.cached_property
    def frames(self) -> Tensor:
        """The true frames (F, 3, S, S) uint8."""
        return self.film(self.identity)

    def film(self, identity: Identity) -> Tensor:
        """Frames (F, 3, S, S) uint8 of this motion, performed by somebody else."""
        shown = render(identity, self.motion, self.size, channels=("image",))
        return torch.from_numpy(shown.image).movedim(-1, 1)


def talkers(count: int, frames: int = 75, size: int = 128, seed: int = 0) -> list[Talker]:
    """``count`` different talkers; number i depends on the seed and i alone.

    Raises:
        UsageError: the extra that speaks is not installed.
    """
    made = []
    for number in range(count):
        rng = np.random.default_rng([2_071, seed, number])
        voice: dict[str, Any] = sample_voice(rng, held_out=True)
        speech = speak(_WORDS[number % len(_WORDS)], **voice)
        wave = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
        wave[: len(speech.wave)] = speech.wave[: len(wave)]
        motion = talking_motion(speech, rng)
        still = motion[-1:].repeat(max(frames - len(motion), 0), 0)
        motion = np.concatenate([motion, still])[:frames]
        person = sample_identity(rng)
        other = sample_identity(rng).in_circumstances_of(person)
        made.append(Talker(person, other, motion, wave, size))
    return made


Harm = Callable[[Sequence[Talker], int, float], Clip]
"""(talkers, which of them, dose) → what a system that fails in this way would have made of it."""


def wrong_words(crowd: Sequence[Talker], who: int, dose: float) -> Clip:
    """The first ``dose`` of the sound is another talker's."""
    talker, other = crowd[who], crowd[(who + 1) % len(crowd)]
    wave = talker.wave.copy()
    replaced = round(dose * len(wave))
    wave[:replaced] = other.wave[:replaced]
    return Clip(talker.frames, torch.from_numpy(wave))


def late_sound(crowd: Sequence[Talker], who: int, dose: float) -> Clip:
    """The sound comes ``dose`` frames late."""
    talker = crowd[who]
    samples = round(dose * SAMPLES_PER_FRAME)
    wave = np.concatenate([np.zeros(samples, np.float32), talker.wave])[: len(talker.wave)]
    return Clip(talker.frames, torch.from_numpy(wave))


def blurred(crowd: Sequence[Talker], who: int, dose: float) -> Clip:
    """A Gaussian blur with a standard deviation of ``dose`` hundredths of the frame's width."""
    talker = crowd[who]
    frames = talker.frames
    if dose:
        sigma = dose / 100 * talker.size
        reach = int(3 * sigma) + 1
        bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
        bell = (bell / bell.sum()).expand(3, 1, 1, -1)
        image = F.pad(frames.float(), (reach,) * 4, mode="replicate")
        image = F.conv2d(F.conv2d(image, bell, groups=3), bell.mT, groups=3)
        frames = image.round().clamp(0, 255).to(torch.uint8)
    return Clip(frames, torch.from_numpy(talker.wave))


def frozen(crowd: Sequence[Talker], who: int, dose: float) -> Clip:
    """In every second of the clip the picture stands still for ``dose`` of the time."""
    talker = crowd[who]
    frames = talker.frames
    time = torch.arange(len(frames))
    second = time // 25 * 25
    held = (time - second) < round(25 * dose)
    return Clip(frames[torch.where(held, second, time)], torch.from_numpy(talker.wave))


def another_person(crowd: Sequence[Talker], who: int, dose: float) -> Clip:
    """All frames but the first show a person ``dose`` of the way to another one."""
    talker = crowd[who]
    ours, theirs = talker.identity.values, talker.other.values
    between = {name: (1 - dose) * ours[name] + dose * theirs[name] for name in ours}
    frames = talker.film(Identity(between))
    frames[0] = talker.frames[0]
    return Clip(frames, torch.from_numpy(talker.wave))


class Course(NamedTuple):
    """A harm, the doses at which it is tried, beginning with none, and their unit."""

    harm: Harm
    doses: tuple[float, ...]
    unit: str


COURSES: dict[str, Course] = {
    "wrong words": Course(wrong_words, (0, 0.2, 0.4, 1), "share of the sound"),
    "late sound": Course(late_sound, (0, 2, 4, 8), "frames"),
    "blurred": Course(blurred, (0, 0.5, 1, 2), "% of the width"),
    "frozen": Course(frozen, (0, 0.3, 0.6, 0.9), "share of the time"),
    "another person": Course(another_person, (0, 0.33, 0.67, 1), "share of the way"),
}


def run(
    metrics: Sequence[str | Mapping[str, Any]], course: Course, crowd: Sequence[Talker]
) -> dict[str, list[float]]:
    """Scores by name, one a dose, of clips harmed at each dose against the true ones."""
    truth = [Clip(talker.frames, torch.from_numpy(talker.wave)) for talker in crowd]
    scores: dict[str, list[float]] = {}
    for dose in course.doses:
        harmed = [course.harm(crowd, who, dose) for who in range(len(crowd))]
        found = measure(build_metrics(metrics), zip(harmed, truth, strict=True))
        for name, value in found.values.items():
            scores.setdefault(name, []).append(value)
    return scores
