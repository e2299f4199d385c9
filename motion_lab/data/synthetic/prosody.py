"""What head and hands hear in a sentence: how loud it is, what is stressed, where phrases end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from motion_lab.data.audio import SAMPLE_RATE, SAMPLES_PER_FRAME
from motion_lab.data.synthetic.speech import SILENCE, Speech
from motion_lab.data.video import FPS

Floats = npt.NDArray[np.floating]


def loudness(speech: Speech, frames: int) -> Floats:
    """Loudness of each frame, 0 in silence and about 1 on loud vowels."""
    samples = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
    samples[: len(speech.wave)] = speech.wave
    power = np.mean(samples.reshape(frames, SAMPLES_PER_FRAME) ** 2, axis=1)
    loud = np.sqrt(power)
    return np.minimum(loud / max(np.percentile(loud, 90), 1e-4), 1.5)


def accents_of(speech: Speech, voice: Floats) -> list[tuple[float, float]]:
    """(seconds, strength 0..1) of each stressed syllable; louder and higher ones are stronger."""
    stressed = [(start, end) for start, end, symbol in speech.phonemes if symbol[0] == "ˈ"]
    heights = np.array([_pitch(speech.wave, start, end) for start, end in stressed])
    heard = heights[heights > 0]
    usual = np.median(heard) if len(heard) else 1.0
    accents = []
    for (start, end), height in zip(stressed, heights, strict=True):
        middle = (start + end) / 2
        loud = voice[min(int(middle * FPS), len(voice) - 1)]
        raised = np.log2(height / usual) if height > 0 else 0.0
        accents.append((middle, float(np.clip(0.5 * loud + 1.2 * raised, 0.1, 1.0))))
    return accents


def _pitch(wave: Floats, start: float, end: float) -> float:
    """Fundamental frequency in hertz of a vowel, by autocorrelation; 0 where there is none."""
    middle = int((start + end) / 2 * SAMPLE_RATE)
    piece = wave[max(middle - 400, 0) : middle + 400]
    if len(piece) < 500:
        return 0.0
    spectrum = np.abs(np.fft.rfft(piece - piece.mean(), 2048)) ** 2
    same = np.fft.irfft(spectrum)[: SAMPLE_RATE // 60]
    shortest = SAMPLE_RATE // 400
    lag = shortest + int(np.argmax(same[shortest:]))
    return SAMPLE_RATE / lag if same[lag] > 0.3 * same[0] else 0.0


def phrase_ends(speech: Speech) -> list[float]:
    """The moments at which a pause begins that a listener notices."""
    pauses = ((start, end) for start, end, symbol in speech.phonemes if symbol == SILENCE)
    return [start for start, end in pauses if end - start > 0.08]
