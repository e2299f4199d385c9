"""The motion of a speaking head: lips from phonemes, the rest from prosody and a personal style."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from motion_lab.data.audio import SAMPLES_PER_FRAME
from motion_lab.data.synthetic.motion import smooth_noise
from motion_lab.data.synthetic.parameters import LIMITS, MOTION
from motion_lab.data.synthetic.prosody import accents_of, loudness, phrase_ends
from motion_lab.data.synthetic.speech import SILENCE, Speech
from motion_lab.data.video import FPS

Floats = npt.NDArray[np.floating]

_AT = {name: index for index, name in enumerate(MOTION)}


class _Shape(NamedTuple):
    """What a sound asks of the mouth, and how strongly it insists (0: takes what neighbours do)."""

    jaw: float
    width: float
    jaw_force: float
    width_force: float
    press: float = 0.0


def _vowels(table: str, width_force: float) -> dict[str, _Shape]:
    entries = (entry.split() for entry in table.split(","))
    return {
        letter: _Shape(float(jaw), float(width), 1.0, width_force)
        for letters, jaw, width in entries
        for letter in letters
    }


def _consonants(letters: str, *shape: float) -> dict[str, _Shape]:
    return {letter: _Shape(*shape) for letter in letters}


# IPA letters; vowels open by their height and pucker or spread by their rounding.
_SHAPES = {
    **_vowels("i 0.16 0.75, ɪᵻ 0.28 0.45, e 0.36 0.5, ɛ 0.52 0.3, æ 0.72 0.3, a 0.8 0.1", 0.8),
    **_vowels("ɨɯ 0.2 0.25, ə 0.32 0, ɐ 0.48 0, ɤɘ 0.4 0.1, ɜ 0.45 -0.05, ʌ 0.55 0, ɑ 0.85 0", 0.5),
    **_vowels("ɚɝ 0.36 -0.3, ɒ 0.7 -0.4, ɔ 0.55 -0.6, œɶ 0.52 -0.5, øɵ 0.36 -0.7", 1.0),
    **_vowels("o 0.42 -0.8, ʊʏ 0.28 -0.7, u 0.2 -0.95, yʉ 0.18 -0.85", 1.2),
    **_consonants("pbmɓ", 0.05, 0.0, 1.0, 0.2, 1.0),
    **_consonants("fvɱʋɸβ", 0.12, 0.1, 1.2, 0.5, 0.45),
    **_consonants("wʍɥ", 0.14, -0.95, 1.0, 1.6),
    **_consonants("ʃʒʂʐɕʑ", 0.12, -0.55, 1.5, 1.0),
    **_consonants("sz", 0.08, 0.3, 1.6, 0.3),
    **_consonants("tdnɾʈɖɳɟcɲ", 0.14, 0.1, 0.8, 0.1),
    **_consonants("lɭʎɫɬɮθð", 0.24, 0.1, 0.7, 0.2),
    **_consonants("ɹrɻɽ", 0.2, -0.4, 0.7, 0.7),
    **_consonants("j", 0.14, 0.5, 0.8, 0.5),
    **_consonants("kɡgŋxɣqɢɴχʁʀ", 0.25, 0.0, 0.4, 0.1),
    **_consonants("hɦʔçʕħ", 0.3, 0.0, 0.1, 0.05),
    SILENCE: _Shape(0.0, 0.0, 2.0, 0.6),
}
_VOWELS = frozenset("iɪᵻeɛæaɨɯəɐɤɘɜʌɑɚɝɒɔœɶøɵoʊʏuyʉ")
_FINE = 200  # steps a second at which the mouth is worked out before frames are taken from it
_REACH = 0.4  # seconds; farther away than this no sound is felt
_STRESS = {"ˈ": 0.95, "ˌ": 0.85}


def frame_count(speech: Speech) -> int:
    """Frames at 25 a second that cover the wave, the last one perhaps in part."""
    return -(-len(speech.wave) // SAMPLES_PER_FRAME)


def mouth_track(speech: Speech, frames: int | None = None) -> npt.NDArray[np.float32]:
    """Jaw and lips over time, (frames, 16); everything but the mouth stays neutral.

    Each sound has a target and a dominance that fades with the distance in time; a moment's mouth
    is the mean of the targets weighted by their dominance (Cohen and Massaro, "Modeling
    coarticulation in synthetic visual speech", 1993). Lips meet fully during p, b and m however
    open their neighbours are. A frame shows the middle of its 40 ms.
    """
    frames = frame_count(speech) if frames is None else frames
    steps = -(-frames * _FINE // FPS)
    clock = (np.arange(steps) + 0.5) / _FINE
    jaw, width = _Blend(steps), _Blend(steps)
    press = np.zeros(steps)
    for start, end, shape in _segments(speech):
        here = slice(max(int((start - _REACH) * _FINE), 0), max(int((end + _REACH) * _FINE), 0))
        time = clock[here]
        core = min(0.25 * (end - start), 0.04)
        distance = np.maximum(np.maximum(start + core - time, time - end + core), 0)
        jaw.add(here, shape.jaw, shape.jaw_force * np.exp(-distance / 0.035))
        width.add(here, shape.width, shape.width_force * np.exp(-distance / 0.06))
        if shape.press:
            # At least one whole frame long, or a short closure falls between two frames.
            half = max(end - start, 0.05) / 2
            outside = np.abs(time - (start + end) / 2) - half
            closing = 0.5 + 0.5 * np.cos(np.pi * np.clip(outside / 0.035, 0, 1))
            press[here] = np.maximum(press[here], shape.press * closing)
    motion = np.zeros((frames, len(MOTION)), np.float32)
    middles = (np.arange(frames) + 0.5) / FPS
    shut = np.interp(middles, clock, press)
    motion[:, _AT["lip_press"]] = shut
    # Lips part at once, but the jaw that came up to let them meet needs a moment to fall again.
    opening = _smooth(jaw.mean() * (1 - 0.6 * press), 0.02)
    motion[:, _AT["jaw"]] = np.interp(middles, clock, opening)
    lips = np.interp(middles, clock, _smooth(width.mean()))
    motion[:, _AT["lip_width"]] = lips * (1 - 0.5 * shut)
    motion[:, _AT["smile"]] = 0.2 * np.maximum(lips, 0)
    return motion


class _Blend:
    """A mean over time of targets, each weighted by its dominance."""

    def __init__(self, steps: int) -> None:
        self.total = np.zeros(steps)
        self.weight = np.full(steps, 1e-6)

    def add(self, here: slice, target: float, dominance: Floats) -> None:
        self.total[here] += target * dominance
        self.weight[here] += dominance

    def mean(self) -> Floats:
        return self.total / self.weight


def _segments(speech: Speech) -> list[tuple[float, float, _Shape]]:
    """(start, end, shape) of each letter; diphthongs and affricates share their time."""
    segments = []
    for start, end, symbol in speech.phonemes:
        letters = [letter for letter in symbol if letter in _SHAPES] or ["h"]
        spoken = _STRESS.get(symbol[0], 0.75)
        step = (end - start) / len(letters)
        for index, letter in enumerate(letters):
            shape = _SHAPES[letter]
            if letter in _VOWELS:
                shape = shape._replace(jaw=shape.jaw * spoken)
            segments.append((start + index * step, start + (index + 1) * step, shape))
    return segments


def _smooth(values: Floats, seconds: float = 0.012, rate: int = _FINE) -> Floats:
    """Convolve with a Gaussian of that standard deviation; ends are held."""
    reach = max(round(3 * seconds * rate), 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (seconds * rate)) ** 2)
    return np.convolve(np.pad(values, reach, "edge"), kernel / kernel.sum(), "valid")


def talking_motion(speech: Speech, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The whole motion of someone saying `speech`, (frames, 16) at 25 frames a second.

    The mouth is that of `mouth_track`, at the speaker's own articulation. The head sways while the
    voice is up, nods on stressed syllables by how loud and high they are, takes a new pose between
    phrases and drifts slowly; brows rise on some accents; eyes blink every 2 to 5 seconds or so,
    sooner at the end of a phrase, and jump between the camera and places beside it. `rng` draws
    the speaker's style and every chance event; the same state gives the same motion.
    """
    frames = frame_count(speech)
    motion = mouth_track(speech, frames)
    if not frames:
        return motion
    style = _Style.draw(rng)
    voice = loudness(speech, frames)
    accents = accents_of(speech, voice)
    phrases = phrase_ends(speech)
    motion[:, _AT["jaw"]] *= style.articulation
    motion[:, _AT["lip_width"]] *= style.articulation
    motion[:, _AT["smile"]] += style.smile + 0.1 * smooth_noise(rng, frames, 0.05, 0.3)
    _move_head(motion, rng, style, voice, accents, phrases)
    _move_brows(motion, rng, style, accents)
    _move_eyes(motion, rng, style, phrases)
    return np.clip(motion, LIMITS[:, 0], LIMITS[:, 1]).astype(np.float32)


class _Style(NamedTuple):
    """What stays the same while one person talks."""

    articulation: float  # size of mouth movements
    sway: float  # radians, head movement while the voice is up
    nod: float  # radians, of the strongest accent
    nods: float  # share of accents with a nod
    pose: float  # radians, how far poses differ from phrase to phrase
    brows: float  # height of a brow raise
    brow_raises: float  # share of accents with one
    smile: float
    blink_gap: float  # median seconds between blinks
    camera: float  # share of the time the eyes look at the camera

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Style:
        return cls(
            articulation=rng.uniform(0.85, 1.15),
            sway=np.radians(rng.uniform(0.8, 3.0)),
            nod=np.radians(rng.uniform(2.0, 7.0)),
            nods=rng.uniform(0.4, 0.9),
            pose=np.radians(rng.uniform(1.5, 8.0)),
            brows=rng.uniform(0.2, 0.7),
            brow_raises=rng.uniform(0.1, 0.6),
            smile=rng.uniform(-0.15, 0.4),
            blink_gap=rng.uniform(2.2, 4.5),
            camera=rng.uniform(0.5, 0.9),
        )


def _bump(frames: int, time: float, rise: float, fall: float) -> Floats:
    """0 .. 1 .. 0 with soft ends, greatest at `time` seconds."""
    past = (np.arange(frames) + 0.5) / FPS - time
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(np.where(past < 0, past / rise, past / fall), -1, 1))


def _move_head(
    motion: npt.NDArray[np.float32],
    rng: np.random.Generator,
    style: _Style,
    voice: Floats,
    accents: list[tuple[float, float]],
    phrases: list[float],
) -> None:
    frames = len(motion)
    speaking = _smooth(voice, 0.25, FPS)
    head = {
        name: share * style.sway * (0.25 + speaking) * smooth_noise(rng, frames, 0.3, 1.4)
        + share * style.pose * 0.5 * smooth_noise(rng, frames, 0.03, 0.15)
        for name, share in (("yaw", 1.2), ("pitch", 0.8), ("roll", 0.7))
    }
    for name, share in (("yaw", 1.5), ("pitch", 0.6), ("roll", 0.8)):
        poses = np.full(frames, rng.normal(0, share * style.pose))
        for time in phrases:
            step = rng.normal(0, share * style.pose) - poses[-1]
            ease = np.clip(((np.arange(frames) + 0.5) / FPS - time) / rng.uniform(0.4, 0.9), 0, 1)
            poses = poses + step * ease * ease * (3 - 2 * ease)
        head[name] = head[name] + poses
    for time, strength in accents:
        if rng.random() < style.nods:
            stroke = _bump(frames, time + 0.04, 0.16, 0.3) * strength
            head["pitch"] = head["pitch"] - style.nod * stroke
            head["yaw"] = head["yaw"] + 0.3 * style.nod * stroke * rng.normal()
            head["roll"] = head["roll"] + 0.3 * style.nod * stroke * rng.normal()
    for name, limit in (("yaw", 30), ("pitch", 17), ("roll", 13)):
        # Soft limits inside the poses that pictures are trained on.
        motion[:, _AT[name]] = np.radians(limit) * np.tanh(head[name] / np.radians(limit))
    # The neck carries the head along when it turns, nods and tilts.
    drift = 0.006 * smooth_noise(rng, frames, 0.03, 0.2)
    motion[:, _AT["shift_x"]] = drift + 0.03 * motion[:, _AT["yaw"]] + 0.05 * motion[:, _AT["roll"]]
    drift = 0.004 * smooth_noise(rng, frames, 0.03, 0.2)
    motion[:, _AT["shift_y"]] = drift - 0.04 * motion[:, _AT["pitch"]]
    motion[:, _AT["zoom"]] = 0.012 * smooth_noise(rng, frames, 0.03, 0.2)


def _move_brows(
    motion: npt.NDArray[np.float32],
    rng: np.random.Generator,
    style: _Style,
    accents: list[tuple[float, float]],
) -> None:
    frames = len(motion)
    motion[:, _AT["brow_raise"]] = 0.06 * smooth_noise(rng, frames, 0.05, 0.4)
    for time, strength in accents:
        if rng.random() < style.brow_raises:
            bump = _bump(frames, time, 0.2, rng.uniform(0.35, 0.8))
            motion[:, _AT["brow_raise"]] += style.brows * (0.4 + 0.6 * strength) * bump
    frown = smooth_noise(rng, frames, 0.04, 0.2)
    motion[:, _AT["brow_frown"]] = 0.25 * np.maximum(frown - 0.8, 0)


def _move_eyes(
    motion: npt.NDArray[np.float32], rng: np.random.Generator, style: _Style, phrases: list[float]
) -> None:
    frames = len(motion)
    seconds = frames / FPS
    target = np.zeros((frames, 2))
    time = 0.0
    while time < seconds:
        until = time + rng.uniform(0.3, 2.2)
        if rng.random() > style.camera:
            target[round(time * FPS) : round(until * FPS)] = rng.normal(0, (0.16, 0.08))
        time = until
    # A saccade takes 30 to 80 ms; the eyes hold their target while the head turns under them.
    for column, (eye, head) in enumerate((("gaze_x", "yaw"), ("gaze_y", "pitch"))):
        looked = _smooth(target[:, column], 0.015, FPS)
        motion[:, _AT[eye]] = np.clip(looked - 0.8 * motion[:, _AT[head]], -0.38, 0.38)
    lids = np.zeros(frames)
    time = rng.uniform(0.2, style.blink_gap)
    while time < seconds:
        near = [end for end in phrases if abs(end - time) < 0.5]
        if near:
            time = near[0]
        lids = np.maximum(lids, _blink(frames, time, rng.uniform(0.15, 0.3)))
        time += max(style.blink_gap * np.exp(rng.normal(0, 0.4)), 0.8)
    motion[:, _AT["blink_left"]] = motion[:, _AT["blink_right"]] = lids


def _blink(frames: int, start: float, length: float) -> Floats:
    """Lids that fall in the first third of `length` seconds, rest shut 40 ms and rise again."""
    past = (np.arange(frames) + 0.5) / FPS - start
    fall = length / 3
    falling = past / fall
    rising = (length - past) / (length - fall - 1 / FPS)
    return np.clip(np.minimum(falling, rising), 0, 1)
