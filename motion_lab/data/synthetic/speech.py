"""Speech with the time of every phoneme, from espeak-ng, offline.

The library and its voices come inside the package espeakng-loader (extra `synthetic`); they are
called through ctypes. espeak-ng keeps the state of its oscillators and of its random numbers in
static variables, so the same text spoken twice differs; here the library is loaded for each
sentence and unloaded after it (under a millisecond), which makes speech a pure function of its
arguments.
"""

from __future__ import annotations

import ctypes
import difflib
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import soxr

from motion_lab.data.audio import SAMPLE_RATE, Wave
from motion_lab.errors import MotionLabError, UsageError

SILENCE = "_"
"""The symbol of a pause."""

TRAINING_VOICES = (
    "en-us", "en-us+m1", "en-us+m3", "en-us+m4", "en-us+m7", "en-us+f1", "en-us+f2", "en-us+f4",
    "en-us+steph", "en-us+anika", "en-us+rob", "en-us+travis", "en-us-nyc", "en-gb", "en-gb+f5",
    "en-gb-x-rp", "en-gb-x-rp+f2", "en-gb-scotland", "en-gb-scotland+f4", "en-029+m7",
)  # fmt: skip
"""Voices that sound like people, for training."""

HELD_OUT_VOICES = ("en-us+m2", "en-us+f3", "en-gb+linda", "en-us+Michael", "en-gb-x-gbclan+norbert")
"""Voices that training never hears, for evaluation."""

_STOPS = frozenset("pbtdkɡgcqʔʈɖɟ")
_CLOSURE = 0.06  # longest silence in seconds that is taken for a stop's closure
_QUIET = 32 / 32768
_LAST_PAUSE = 0.2  # seconds of silence behind the last sound

_SYNCHRONOUS = 2
_PHONEME_EVENTS_IN_IPA = 0x3
_DO_NOT_EXIT = 0x8000
_UTF8 = 1
_PHONEME = 7
_RATE, _PITCH = 1, 3
_RATES, _PITCHES = (80, 450), (0, 99)

_lock = threading.Lock()


@dataclass(frozen=True)
class Speech:
    """A spoken text.

    `wave` (T,) is mono at 16 kHz in [-1, 1]. `phonemes` are (start, end, symbol) in seconds, in
    order and without gaps, from 0 to the end of the wave; symbols are IPA, stressed vowels with
    ˈ or ˌ in front, and SILENCE for pauses. A stop begins with its closure.
    """

    wave: Wave
    phonemes: tuple[tuple[float, float, str], ...]


class _Event(ctypes.Structure):
    """espeak_EVENT of espeak-ng's speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("string", ctypes.c_char * 8),
    )


class _Voice(ctypes.Structure):
    """espeak_VOICE of espeak-ng's speak_lib.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("unused", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def speak(text: str, *, voice: str = "en-us", rate: int = 165, pitch: int = 50) -> Speech:
    """Speak `text`; the same arguments always give the same samples.

    `voice` is a language of `languages()`, optionally with one of `variants()` behind a plus sign
    ("en-us", "en-gb+f3", "de+m2"); `rate` is in words a minute (80 to 450), `pitch` 0 to 99.

    Raises UsageError where the extra is missing, the voice is unknown, a number is out of range or
    the text holds nothing that can be spoken.
    """
    _check("rate", rate, _RATES)
    _check("pitch", pitch, _PITCHES)
    voice_file = _voice_file(voice)
    if not text.strip():
        raise UsageError("There is no text to speak: it is empty. Give a sentence.")
    pieces: list[np.ndarray] = []
    events: list[tuple[int, str]] = []

    @_Callback
    def receive(samples, count, event) -> int:
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while event[index].type:
            if event[index].type == _PHONEME:
                # The field holds 8 bytes, which may end inside a letter.
                symbol = event[index].string.decode("utf-8", "ignore")
                events.append((event[index].sample, symbol or SILENCE))
            index += 1
        return 0

    data = text.replace("\0", " ").encode()
    with _espeak() as (library, rate_made):
        library.espeak_SetSynthCallback(receive)
        library.espeak_ng_SetRandSeed(1)
        library.espeak_SetVoiceByName(voice_file.encode())
        library.espeak_SetParameter(_RATE, rate, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        status = library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
    if status:
        raise MotionLabError(f"espeak-ng failed with status {status} while speaking {text!r}.")
    if all(symbol == SILENCE for _, symbol in events):
        raise UsageError(f"There is nothing to speak in {text!r}. Give a sentence with words.")
    # espeak-ng stops with the last sound; the mouth needs a moment to close.
    events.append((sum(map(len, pieces)), SILENCE))
    pieces.append(np.zeros(round(_LAST_PAUSE * rate_made), np.int16))
    samples = np.concatenate(pieces).astype(np.float32) / 32768
    wave = np.clip(soxr.resample(samples, rate_made, SAMPLE_RATE), -1, 1)
    starts = _starts(samples, rate_made, events)
    bounds = [0.0, *starts[1:], len(wave) / SAMPLE_RATE]
    phonemes = tuple(
        (start, end, symbol)
        for start, end, (_, symbol) in zip(bounds[:-1], bounds[1:], events, strict=True)
        if end > start
    )
    return Speech(wave, phonemes)


def placed(speech: Speech, lead: float, samples: int) -> Speech:
    """The speech after `lead` seconds of silence, cut or filled up with silence to `samples`."""
    before = int(lead * SAMPLE_RATE)
    wave = np.zeros(samples, np.float32)
    heard = speech.wave[: samples - before]
    wave[before : before + len(heard)] = heard
    start, end = before / SAMPLE_RATE, samples / SAMPLE_RATE
    phonemes = [(0.0, start, SILENCE)]
    for begin, stop, symbol in speech.phonemes:
        if begin + start < end:
            phonemes.append((begin + start, min(stop + start, end), symbol))
    if phonemes[-1][1] < end:
        phonemes.append((phonemes[-1][1], end, SILENCE))
    return Speech(wave, tuple(phonemes))


def sample_voice(rng: np.random.Generator, *, held_out: bool = False) -> dict[str, str | int]:
    """Draw the keyword arguments of `speak` that make one speaker: voice, rate and pitch."""
    voices = HELD_OUT_VOICES if held_out else TRAINING_VOICES
    return {
        "voice": voices[rng.integers(len(voices))],
        "rate": int(rng.integers(130, 201)),
        "pitch": int(rng.integers(30, 71)),
    }


def languages() -> dict[str, str]:
    """The voices' languages: code ("en-us", "de") to name ("English (America)", "German")."""
    return {code: name for code, (name, _) in _voices().items()}


@functools.cache
def variants() -> tuple[str, ...]:
    """The speakers that any language can be spoken by ("f3", "m2", "whisper", ...)."""
    with _espeak() as (library, _):
        kind = ctypes.create_string_buffer(b"variant")
        wanted = _Voice(languages=ctypes.addressof(kind))
        names = [
            voice.identifier.decode().removeprefix("!v/")
            for voice in _listed(library, ctypes.byref(wanted))
        ]
    return tuple(sorted(names))


@functools.cache
def _voices() -> dict[str, tuple[str, str]]:
    """Language code to the voice's name and its file, sorted by code."""
    found: dict[str, tuple[str, str]] = {}
    with _espeak() as (library, _):
        for voice in _listed(library, None):
            for code in _codes(voice.languages):
                found.setdefault(code, (voice.name.decode(), voice.identifier.decode()))
    return dict(sorted(found.items()))


def _check(name: str, value: int, allowed: tuple[int, int]) -> None:
    low, high = allowed
    if not low <= value <= high:
        raise UsageError(f"The speaking {name} must lie between {low} and {high}, not {value}.")


def _voice_file(voice: str) -> str:
    """The name under which espeak-ng finds a voice.

    Variants are kept behind the name of a file only ("gmw/en+f3"); behind a language code that is
    no file ("en-gb+f3") espeak-ng drops them without a word.
    """
    language, plus, variant = voice.partition("+")
    checks = [("language", language, list(languages()))]
    if plus:
        checks.append(("variant", variant, list(variants())))
    for kind, part, known in checks:
        if part not in known:
            near = difflib.get_close_matches(part, known, 5, 0.3) or known[:8]
            raise UsageError(
                f"There is no voice {voice!r}: its {kind} {part!r} is unknown. Near it: "
                f"{', '.join(near)}. A voice is a language, or a language and a variant, such as "
                "en-us or en-gb+f3."
            )
    return _voices()[language][1] + plus + variant


@contextmanager
def _espeak() -> Iterator[tuple[ctypes.CDLL, int]]:
    """Load espeak-ng afresh; yields the library and the rate at which it makes samples."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise UsageError(
            "Speaking a text needs espeak-ng. Install it with: pip install 'motion-lab[synthetic]'"
        ) from error
    from _ctypes import dlclose

    data = espeakng_loader.get_data_path()
    with _lock:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
            rate = library.espeak_Initialize(
                _SYNCHRONOUS, 0, data.encode(), _PHONEME_EVENTS_IN_IPA | _DO_NOT_EXIT
            )
            if rate <= 0:
                raise MotionLabError(
                    f"espeak-ng could not start with its data in {data}. Install it again with: "
                    "pip install --force-reinstall espeakng-loader"
                )
            yield library, rate
            library.espeak_Terminate()
        finally:
            dlclose(library._handle)


def _listed(library: ctypes.CDLL, wanted) -> Iterator[_Voice]:
    voices = library.espeak_ListVoices(wanted)
    index = 0
    while voices[index]:
        yield voices[index][0]
        index += 1


def _codes(address: int) -> Iterator[str]:
    """The language codes of a voice: each a priority byte and a string, a zero byte at the end."""
    while ctypes.string_at(address, 1) != b"\0":
        code = ctypes.string_at(address + 1)
        yield code.decode()
        address += len(code) + 2


def _starts(samples: np.ndarray, rate: int, events: list[tuple[int, str]]) -> list[float]:
    """Start of each phoneme in seconds.

    espeak-ng reports a stop at its burst, and leaves the silent closure before it, in which the
    lips or the tongue already shut the mouth, to the phoneme before; it is moved to the stop.
    """
    starts = []
    previous = 0
    for sample, symbol in events:
        start = sample
        if symbol[0] in _STOPS:
            before = max(sample - round(_CLOSURE * rate), previous)
            loud = np.flatnonzero(np.abs(samples[before:sample]) > _QUIET)
            start = before + int(loud[-1]) + 1 if len(loud) else before
        starts.append(start / rate)
        previous = sample
    return starts
