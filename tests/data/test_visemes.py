"""The motion of speaking heads, held against what is known of mouths and of people who talk."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from motion_lab.data.audio import SAMPLE_RATE
from motion_lab.data.synthetic.parameters import LIMITS, MOTION
from motion_lab.data.synthetic.sentences import OTHER_LANGUAGES, random_sentence
from motion_lab.data.synthetic.speech import SILENCE, Speech, speak
from motion_lab.data.synthetic.visemes import frame_count, mouth_track, talking_motion

TEXT = (
    "My mother puts the big blue book above the table. Papa keeps a happy pup, and we watch. "
    "Bob moved the lamp to a small room. How beautiful! Amy borrowed my umbrella."
)
MIDDLES = (np.arange(100_000) + 0.5) / 25


class Track(NamedTuple):
    """Columns of a motion by name."""

    motion: np.ndarray

    def __getattr__(self, name: str) -> np.ndarray:
        return self.motion[:, MOTION.index(name)]


@pytest.fixture(scope="module")
def speech() -> Speech:
    return speak(TEXT)


@pytest.fixture(scope="module")
def mouth(speech) -> Track:
    return Track(mouth_track(speech))


@pytest.fixture(scope="module")
def minute() -> Speech:
    rng = np.random.default_rng(7)
    return speak(" ".join(random_sentence(rng) for _ in range(24)))


def frame_at(seconds: float) -> int:
    return int(seconds * 25)


def during(speech: Speech, track: np.ndarray, letters: str) -> np.ndarray:
    """The track at the middle of every phoneme that begins with one of the letters."""
    return np.array(
        [
            np.interp((start + end) / 2, MIDDLES[: len(track)], track)
            for start, end, symbol in speech.phonemes
            if symbol.lstrip("ˈˌ")[0] in letters
        ]
    )


def test_a_motion_has_one_frame_for_each_640_samples(speech, mouth):
    assert mouth.motion.shape == (frame_count(speech), len(MOTION))
    assert mouth.motion.dtype == np.float32
    assert frame_count(speech) == int(np.ceil(len(speech.wave) / 640))


@pytest.mark.parametrize(("voice", "text"), [("en-us", TEXT), ("de", OTHER_LANGUAGES["de"][1]),
                                             ("es", OTHER_LANGUAGES["es"][0])])  # fmt: skip
def test_lips_meet_in_every_p_b_and_m(voice, text):
    spoken = speak(text, voice=voice)
    press = Track(mouth_track(spoken)).lip_press
    for start, end, symbol in spoken.phonemes:
        if symbol[0] in "pbm":
            seen = press[frame_at(start - 0.02) : frame_at(end + 0.02) + 1]
            assert seen.max() > 0.95, (start, symbol)


def test_lips_are_apart_on_stressed_vowels(speech, mouth):
    opening = mouth.jaw * (1 - mouth.lip_press)
    for start, end, symbol in speech.phonemes:
        if symbol[0] == "ˈ":
            assert opening[frame_at(start) : frame_at(end) + 1].max() > 0.12, (start, symbol)


def test_the_jaw_falls_further_for_lower_vowels():
    jaw = {}
    for word, letters in (("tot", "ɑ"), ("tet", "ɛ"), ("teat", "i")):
        spoken = speak(f"A {word} and a {word}.")
        jaw[word] = during(spoken, Track(mouth_track(spoken)).jaw, letters).mean()
    assert jaw["tot"] > 1.2 * jaw["tet"] > 1.4 * jaw["teat"]


def test_rounded_vowels_pucker_and_spread_ones_spread():
    spoken = speak("Sue, see. Sue, see.")
    width = Track(mouth_track(spoken)).lip_width
    assert during(spoken, width, "u").max() < -0.5
    assert during(spoken, width, "i").min() > 0.3
    # The vowel to come already shapes the s: coarticulation.
    rounded, spread = during(spoken, width, "s")[:2]
    assert rounded < spread - 0.3


def test_silence_closes_the_mouth(speech, mouth):
    pauses = [p for p in speech.phonemes if p[2] == SILENCE and p[1] - p[0] > 0.15]
    assert len(pauses) >= 3
    for start, end, _ in pauses:
        assert mouth.jaw[frame_at((start + end) / 2)] < 0.03


def test_the_mouth_is_closed_at_the_end(mouth):
    assert mouth.jaw[-2:].max() < 0.03


def test_the_mouth_moves_with_the_loudness_of_the_voice(minute):
    frames = frame_count(minute)
    samples = np.pad(minute.wave, (0, frames * 640 - len(minute.wave))).reshape(frames, 640)
    loud = np.sqrt(np.mean(samples**2, axis=1))
    track = Track(mouth_track(minute))
    opening = track.jaw * (1 - track.lip_press)
    at = {
        lag: np.corrcoef(np.roll(opening, lag)[10:-10], loud[10:-10])[0, 1] for lag in range(-4, 5)
    }
    assert at[0] > 0.5
    assert max(at, key=at.get) in (-1, 0, 1)


def test_the_jaw_is_smooth(minute):
    jaw = Track(mouth_track(minute)).jaw
    assert np.abs(np.diff(jaw)).max() < 0.5
    assert np.abs(np.diff(jaw, 2)).mean() < 0.1


def test_everything_but_the_mouth_is_still_in_the_mouth_track(mouth):
    others = [n for n in MOTION if n not in ("jaw", "lip_width", "lip_press", "smile")]
    assert not any(getattr(mouth, name).any() for name in others)


def test_talking_is_decided_by_the_seed(speech):
    first = talking_motion(speech, np.random.default_rng(3))
    np.testing.assert_array_equal(first, talking_motion(speech, np.random.default_rng(3)))
    second = Track(talking_motion(speech, np.random.default_rng(4)))
    first = Track(first)
    assert abs(np.corrcoef(first.yaw, second.yaw)[0, 1]) < 0.9
    assert np.corrcoef(first.jaw, second.jaw)[0, 1] > 0.99
    np.testing.assert_allclose(first.lip_press, second.lip_press)


@pytest.mark.parametrize("seed", range(6))
def test_talking_stays_inside_what_heads_do(minute, seed):
    motion = talking_motion(minute, np.random.default_rng(seed))
    assert motion.dtype == np.float32
    assert np.isfinite(motion).all()
    assert (motion >= LIMITS[:, 0]).all()
    assert (motion <= LIMITS[:, 1]).all()
    track = Track(motion)
    for name, degrees in (("yaw", 35), ("pitch", 20), ("roll", 15)):
        values = np.degrees(getattr(track, name))
        assert np.abs(values).max() < degrees
        assert values.std() > 0.3, f"{name} stands still"
        assert np.abs(np.diff(values)).max() < 5, f"{name} jerks"


@pytest.mark.parametrize("seed", range(6))
def test_blinks_come_as_often_and_last_as_long_as_people_s(minute, seed):
    track = Track(talking_motion(minute, np.random.default_rng(seed)))
    np.testing.assert_array_equal(track.blink_left, track.blink_right)
    shut = np.flatnonzero(np.diff((track.blink_left > 0.5).astype(int)) == 1)
    a_minute = len(shut) / (len(track.motion) / 25 / 60)
    assert 8 <= a_minute <= 36
    lowered = np.diff(np.flatnonzero(np.diff((track.blink_left > 0.01).astype(int))))[::2]
    assert lowered.min() >= 3  # frames: 120 ms
    assert lowered.max() <= 16  # two in a row may touch
    assert all(track.blink_left[frame : frame + 3].max() > 0.85 for frame in shut)


def test_the_head_nods_on_accents(minute):
    after, before = [], []
    for seed in range(8):
        pitch = Track(talking_motion(minute, np.random.default_rng(seed))).pitch
        for start, end, symbol in minute.phonemes:
            frame = frame_at((start + end) / 2)
            if symbol[0] == "ˈ" and 6 < frame < len(pitch) - 2:
                after.append(pitch[frame + 1])
                before.append(pitch[frame - 4])
    assert np.degrees(np.mean(after) - np.mean(before)) < -0.2


def test_the_head_is_livelier_while_the_voice_is_up(minute):
    quiet = np.zeros(len(minute.wave), np.float32)
    end = len(minute.wave) / SAMPLE_RATE
    paused = Speech(
        np.concatenate([minute.wave, quiet]), (*minute.phonemes, (end, 2 * end, SILENCE))
    )
    half = frame_count(minute)
    speeds = []
    for seed in range(6):
        track = Track(talking_motion(paused, np.random.default_rng(seed)))
        speed = np.abs(np.diff(track.pitch)) + np.abs(np.diff(track.yaw))
        speeds.append((speed[:half].mean(), speed[half + 25 :].mean()))
        assert track.jaw[half + 5 :].max() < 0.02
        assert track.blink_left[half:].max() > 0.8  # idle people blink
        assert speed[half + 25 :].mean() > 0  # and breathe
    talking, silent = np.mean(speeds, axis=0)
    assert talking > 2 * silent


def test_eyes_jump_rather_than_glide_and_mostly_meet_the_camera(minute):
    jumps, away = [], []
    for seed in range(6):
        track = Track(talking_motion(minute, np.random.default_rng(seed)))
        target = track.gaze_x + 0.8 * track.yaw
        jumps.append((np.abs(np.diff(target)) > 0.05).mean())
        away.append((np.abs(target) > 0.1).mean())
    assert 0.002 < np.mean(jumps) < 0.1
    assert np.mean(away) < 0.4


def test_sentences_are_varied_and_use_every_sound_of_english():
    rng = np.random.default_rng(0)
    sentences = [random_sentence(rng) for _ in range(400)]
    assert len(set(sentences)) > 350
    assert sentences[:5] == [
        random_sentence(r) for r in [np.random.default_rng(0)] for _ in range(5)
    ]
    assert all(1 <= len(sentence.split()) <= 26 for sentence in sentences)
    heard = {
        symbol.lstrip("ˈˌ")
        for sentence in sentences[:80]
        for _, _, symbol in speak(sentence, rate=300).phonemes
    }
    consonants = {"p", "b", "m", "f", "v", "θ", "ð", "t", "d", "n", "s", "z", "ʃ", "tʃ", "dʒ",
                  "l", "ɹ", "j", "w", "k", "ɡ", "ŋ", "h"}  # fmt: skip
    vowels = {"iː", "ɪ", "ɛ", "æ", "ʌ", "ɑː", "ɔː", "ʊ", "uː", "ə", "eɪ", "aɪ", "ɔɪ", "oʊ", "aʊ"}
    assert consonants | vowels <= heard
