"""Speech from text: the same every time, every phoneme where it sounds, clear refusals."""

from __future__ import annotations

import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest

from motion_lab.data.audio import SAMPLE_RATE, load_audio, save_wav
from motion_lab.data.synthetic.speech import (
    HELD_OUT_VOICES,
    SILENCE,
    TRAINING_VOICES,
    languages,
    sample_voice,
    speak,
    variants,
)
from motion_lab.errors import UsageError

TEXT = "My mother puts the big blue book above the table. Papa keeps a happy pup."


def loudness(speech, start: float, end: float) -> float:
    piece = speech.wave[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
    return float(np.sqrt(np.mean(piece**2)))


def pitch_hertz(wave: np.ndarray) -> float:
    """Median over voiced stretches of the lag at which the wave agrees with itself best."""
    found = []
    for start in range(0, len(wave) - 1024, 800):
        piece = wave[start : start + 1024]
        if np.abs(piece).max() > 0.1:
            same = np.correlate(piece, piece, "full")[1023:]
            lag = 40 + int(np.argmax(same[40:250]))
            if same[lag] > 0.5 * same[0]:
                found.append(SAMPLE_RATE / lag)
    return float(np.median(found))


def test_speech_is_audible_and_of_the_expected_length():
    speech = speak(TEXT)
    assert speech.wave.dtype == np.float32
    assert 3 < len(speech.wave) / SAMPLE_RATE < 8
    assert 0.2 < np.abs(speech.wave).max() <= 1


def test_phonemes_cover_the_wave_without_gaps():
    speech = speak(TEXT)
    starts, ends, _ = zip(*speech.phonemes, strict=True)
    assert starts[0] == 0
    assert starts[1:] == ends[:-1]
    assert ends[-1] == pytest.approx(len(speech.wave) / SAMPLE_RATE)
    assert all(end > start for start, end in zip(starts, ends, strict=True))


def test_phonemes_are_those_of_the_words():
    symbols = "".join(s.strip("ˈˌ") for _, _, s in speak("Papa, my baby.").phonemes)
    assert symbols.replace(SILENCE, "") == "pɑːpəmaɪbeɪbi"


def test_vowels_sound_and_pauses_do_not():
    speech = speak(TEXT)
    vowels = [loudness(speech, s, e) for s, e, x in speech.phonemes if x[0] == "ˈ"]
    pauses = [loudness(speech, s, e) for s, e, x in speech.phonemes if x == SILENCE and e - s > 0.1]
    assert len(vowels) >= 8
    assert len(pauses) >= 1
    assert min(vowels) > 0.03
    assert max(pauses) < 0.005


def test_a_voiceless_stop_begins_with_its_silent_closure():
    speech = speak("A happy papa, a copper pepper.")
    closures = [
        loudness(speech, start, start + 0.02) for start, _, symbol in speech.phonemes
        if symbol == "p"
    ]  # fmt: skip
    assert len(closures) >= 6
    assert max(closures) < 0.005


def test_the_same_text_gives_the_same_samples_whatever_was_spoken_before():
    first = speak(TEXT)
    speak("Something else entirely!", voice="en-us+whisper", rate=240)
    second = speak(TEXT)
    np.testing.assert_array_equal(first.wave, second.wave)
    assert first.phonemes == second.phonemes
    program = (
        "import sys, zlib\nfrom motion_lab.data.synthetic.speech import speak\n"
        "print(zlib.crc32(speak(sys.argv[1]).wave.tobytes()))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program, TEXT], capture_output=True, text=True, check=True
    )
    assert int(printed.stdout) == zlib.crc32(first.wave.tobytes())


def test_threads_may_speak_at_once():
    alone = {voice: speak(TEXT, voice=voice).wave for voice in ("en-us", "de", "en-gb+f2")}
    together: dict[str, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda v=voice: together.update({v: speak(TEXT, voice=v).wave}))
        for voice in alone
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for voice, wave in alone.items():
        np.testing.assert_array_equal(together[voice], wave)


def test_every_listed_voice_is_a_voice_of_its_own():
    text = "My mother talks about the car."
    waves = {voice: speak(text, voice=voice).wave for voice in TRAINING_VOICES + HELD_OUT_VOICES}
    assert len({wave.tobytes() for wave in waves.values()}) == len(waves)
    assert not set(TRAINING_VOICES) & set(HELD_OUT_VOICES)


def test_rate_pitch_and_speaker_change_what_they_say():
    normal, fast, high = speak(TEXT), speak(TEXT, rate=260), speak(TEXT, pitch=90)
    assert len(fast.wave) < 0.8 * len(normal.wave)
    assert pitch_hertz(high.wave) > 1.2 * pitch_hertz(normal.wave)
    # A woman's variant must raise the pitch behind every language, file or not (en-gb is none).
    for language in ("en-us", "en-gb"):
        woman = speak(TEXT, voice=f"{language}+f2")
        assert pitch_hertz(woman.wave) > 1.5 * pitch_hertz(speak(TEXT, voice=language).wave)


def test_languages_and_variants_are_listed():
    assert languages()["en-us"] == "English (America)"
    assert {"de", "fr", "es", "cmn", "en", "en-gb"} <= set(languages())
    assert {"f1", "m1", "whisper"} <= set(variants())


def test_voices_are_drawn_by_the_seed_from_the_right_list():
    drawn = [sample_voice(np.random.default_rng(seed)) for seed in range(60)]
    assert drawn == [sample_voice(np.random.default_rng(seed)) for seed in range(60)]
    assert {voice["voice"] for voice in drawn} <= set(TRAINING_VOICES)
    assert len({voice["voice"] for voice in drawn}) > 10
    assert sample_voice(np.random.default_rng(0), held_out=True)["voice"] in HELD_OUT_VOICES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": ""}, "empty"),
        ({"text": " \n\t"}, "empty"),
        ({"text": "... , ;"}, "nothing to speak"),
        ({"text": "hi", "voice": "klingon"}, "language 'klingon' is unknown"),
        ({"text": "hi", "voice": "en-us+f9"}, "variant 'f9' is unknown. Near it: .*f5"),
        ({"text": "hi", "voice": "en-us+"}, "variant '' is unknown"),
        ({"text": "hi", "rate": 20}, "rate must lie between 80 and 450"),
        ({"text": "hi", "pitch": 100}, "pitch must lie between 0 and 99"),
    ],
)
def test_what_cannot_be_spoken_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        speak(**arguments)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UsageError, match=r"pip install 'motion-lab\[synthetic\]'"):
        speak("hello")


def test_spoken_text_survives_a_file(tmp_path):
    speech = speak("Hello there.")
    save_wav(tmp_path / "a.wav", speech.wave)
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), speech.wave, atol=1.1 / 32767)
