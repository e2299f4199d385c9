"""Gestures that go with speech: hands that beat time to what is stressed, and rest in pauses.

The phases are those of McNeill, "Hand and mind", 1992: a hand leaves its rest (preparation), beats
with strokes that land on stressed syllables, is held, and retracts when a pause is long enough.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from motion_lab.data.synthetic.bodies import SPACE, Floats, reach, sample_pole
from motion_lab.data.synthetic.motion import minimum_jerk, smooth_noise
from motion_lab.data.synthetic.prosody import accents_of, loudness
from motion_lab.data.synthetic.speech import SILENCE, Speech
from motion_lab.data.synthetic.visemes import frame_count, talking_motion
from motion_lab.data.video import FPS

_PAUSE = 0.08  # seconds of silence that part phrases
_REST = 0.7  # seconds of silence that are worth going back to rest for
# x, y, z of a wrist at rest: hands folded at the waist, in the lap, beside the body.
_RESTS = ((0.55, -5.2, 1.7), (0.8, -6.4, 2.3), (2.3, -7.0, 0.3))
_CENTRE = np.array([(0.8, 2.3), (-5.0, -3.4), (1.9, 3.0)])
"""(3, 2): where in the gesture space somebody's gestures are centred, least and greatest."""


def gesturing_motion(speech: Speech, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The whole motion of an upper body saying `speech`, (frames, 26) at 25 frames a second.

    The head's 16 numbers are those of `talking_motion`, the arms' ten those of `gestures`. `rng`
    draws the speaker's style and every chance event; the same state gives the same motion.
    """
    head = talking_motion(speech, rng)
    return np.concatenate([head, gestures(speech, rng)], axis=1)


def gestures(speech: Speech, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The arms of someone saying `speech`, (frames, 10) at 25 frames a second.

    Within a phrase one hand or both beat: up, then down and out so that the stroke ends on the
    stressed vowel, farther on stronger accents; between strokes they are held. Every move is of
    minimum jerk, along a straight line within the gesture space, so no hand meets the torso.
    """
    frames = frame_count(speech)
    style = _Style.draw(rng)
    keys = _keys(speech, style, rng)
    seconds = (np.arange(frames) + 0.5) / FPS
    places = np.stack([_through(side, seconds) for side in keys], 1)
    for side in range(2):
        for axis in range(3):
            places[:, side, axis] += 0.035 * smooth_noise(rng, frames, 0.15, 0.6)
    return reach(places[..., :3], style.pole, places[..., 3])


class _Style(NamedTuple):
    """What stays the same while one person talks. A place is x, y, z and the turn of the palm."""

    amplitude: float  # length of a stroke of middling strength
    beats: float  # share of accents with a stroke
    phrases: float  # share of phrases with a gesture
    hands: Floats  # shares of the left hand, the right hand and both
    stroke: float  # seconds from the top of a stroke to its end
    direction: Floats  # (4,), of a stroke from top to end
    rest: Floats  # (2, 4)
    centre: Floats  # (4,)
    pole: Floats  # (3,), where the elbows point

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Style:
        both, strong = rng.uniform(0.2, 0.8), rng.uniform(0.6, 0.95)
        left = 1 - strong if rng.random() < 0.85 else strong  # most are right-handed
        rest = np.array([*_RESTS[rng.choice(3, p=(0.5, 0.25, 0.25))], rng.uniform(0.9, 1.4)])
        palm = rng.uniform(-0.2, 1.3)
        return cls(
            amplitude=rng.uniform(0.5, 1.5),
            beats=rng.uniform(0.55, 1.0),
            phrases=rng.uniform(0.7, 1.0),
            # the right hand of the person is to the viewer's left
            hands=np.array([(1 - both) * (1 - left), (1 - both) * left, both]),
            stroke=rng.uniform(0.16, 0.28),
            direction=np.array(
                [rng.uniform(-0.1, 0.7), -1.0, rng.uniform(0, 0.6), rng.uniform(-0.4, 0.4)]
            ),
            rest=rest + rng.normal(0, (0.12, 0.15, 0.05, 0.1), (2, 4)),
            centre=np.array([*rng.uniform(_CENTRE[:, 0], _CENTRE[:, 1]), palm]),
            pole=sample_pole(rng),
        )


class _Keys:
    """Places (4,) of one hand at rising times; it pauses at each."""

    def __init__(self, place: Floats) -> None:
        self.times, self.places = [0.0], [place]

    def go(self, time: float, place: Floats, seconds: float) -> None:
        """Be at a place at a time, after a move of so many seconds, or fewer if there are not."""
        last = self.times[-1]
        if time - last > seconds:
            self._add(time - seconds, self.places[-1])
        self._add(max(time, last + 0.08), place)

    def _add(self, time: float, place: Floats) -> None:
        self.times.append(time)
        self.places.append(place)


def _keys(speech: Speech, style: _Style, rng: np.random.Generator) -> list[_Keys]:
    """What either hand does during the whole of a speech."""
    hands = [_Keys(rest) for rest in style.rest]
    accents = accents_of(speech, loudness(speech, frame_count(speech)))
    phrases = _phrases(speech)
    for index, (start, end) in enumerate(phrases):
        heard = [accent for accent in accents if start <= accent[0] < end]
        strokes = [accent for accent in heard if rng.random() < style.beats]
        used: tuple[int, ...] = [(0,), (1,), (0, 1)][rng.choice(3, p=style.hands)]
        if rng.random() >= style.phrases:
            used = ()
        centre = style.centre + rng.normal(0, (0.4, 0.4, 0.25, 0.2))
        last = index + 1 == len(phrases)
        pauses = last or phrases[index + 1][0] - end > _REST
        for side, hand in enumerate(hands):
            if side in used:
                _beat(hand, strokes, centre, style, rng)
            if pauses or side not in used:
                since = max(hand.times[-1], end if side in used else start)
                hand.go(since + rng.uniform(0.75, 1.1), style.rest[side], 0.7)
    return hands


def _beat(
    hand: _Keys,
    strokes: list[tuple[float, float]],
    centre: Floats,
    style: _Style,
    rng: np.random.Generator,
) -> None:
    """Strokes that end at (seconds, strength), one after another as far as there is time."""
    for time, strength in strokes:
        top = time - style.stroke
        if top - hand.times[-1] < 0.12:
            continue
        length = style.amplitude * (0.5 + strength) * style.direction
        around = centre + rng.normal(0, (0.15, 0.15, 0.1, 0.05))
        high, low = (_within(around + share * length) for share in (-0.5, 0.5))
        far = float(np.linalg.norm((high - hand.places[-1])[:3]))
        hand.go(top, high, 0.2 + 0.12 * far)
        hand.go(time, low, style.stroke)


def _within(place: Floats) -> Floats:
    """The place, kept in the gesture space and the palm within what a forearm can turn."""
    return np.append(np.clip(place[:3], *SPACE.T), np.clip(place[3], -0.4, 2.0))


def _phrases(speech: Speech) -> list[tuple[float, float]]:
    """(start, end) in seconds of what is said between pauses."""
    phrases: list[tuple[float, float]] = []
    for start, end, symbol in speech.phonemes:
        if symbol == SILENCE and end - start > _PAUSE:
            continue
        if phrases and start - phrases[-1][1] < _PAUSE:
            phrases[-1] = (phrases[-1][0], end)
        elif symbol != SILENCE:
            phrases.append((start, end))
    return phrases


def _through(keys: _Keys, seconds: Floats) -> Floats:
    """Places (F, 4) at these times."""
    times, places = np.array(keys.times), np.array(keys.places)
    at = np.clip(np.searchsorted(times, seconds, side="right") - 1, 0, max(len(times) - 2, 0))
    after = np.minimum(at + 1, len(times) - 1)
    span = np.maximum(times[after] - times[at], 1e-6)
    ease = minimum_jerk(np.clip((seconds - times[at]) / span, 0, 1))[:, None]
    return places[at] + ease * (places[after] - places[at])
