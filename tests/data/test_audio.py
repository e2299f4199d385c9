"""Recordings as users have them: formats, rates, channels, and files that are not what they say."""

from __future__ import annotations

import os
import struct
import wave as wave_file
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from motion_lab.data.audio import SAMPLE_RATE, load_audio, save_wav
from motion_lab.errors import UsageError

FORMATS = [
    ("wav", "pcm_s16le", 16_000, "mono"),
    ("wav", "pcm_s24le", 48_000, "stereo"),
    ("wav", "pcm_u8", 8_000, "mono"),
    ("mp3", "libmp3lame", 44_100, "stereo"),
    ("m4a", "aac", 44_100, "stereo"),
    ("m4a", "aac", 22_050, "mono"),
    ("flac", "flac", 96_000, "mono"),
    ("ogg", "libopus", 48_000, "stereo"),
]


def sine(seconds: float, rate: int, hertz: float = 440.0, peak: float = 0.5) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def encode(path: Path, wave: np.ndarray, codec: str, rate: int, layout: str) -> Path:
    """Write `wave` with PyAV, the same on every channel."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        channels = stream.layout.nb_channels
        frame = av.AudioFrame.from_ndarray(np.repeat(wave[None], channels, 0), "fltp", layout)
        frame.sample_rate = rate
        frame.pts = 0
        frame.time_base = Fraction(1, rate)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def float_wav(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE) -> Path:
    """A RIFF file with 32-bit float samples, byte by byte."""
    data = samples.astype("<f4").tobytes()
    head = struct.pack("<HHIIHH", 3, 1, rate, 4 * rate, 4, 32)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def strongest_hertz(wave: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(np.argmax(spectrum) * SAMPLE_RATE / len(wave))


@pytest.mark.parametrize(("extension", "codec", "rate", "layout"), FORMATS)
def test_every_format_becomes_the_same_mono_wave(tmp_path, extension, codec, rate, layout):
    path = encode(tmp_path / f"a.{extension}", sine(1.5, rate), codec, rate, layout)
    wave = load_audio(path)
    assert wave.dtype == np.float32
    assert wave.ndim == 1
    assert len(wave) / SAMPLE_RATE == pytest.approx(1.5, abs=0.04)
    middle = wave[4000:20000]
    assert strongest_hertz(middle) == pytest.approx(440, abs=1.5)
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(("extension", "codec"), [("mp3", "libmp3lame"), ("m4a", "aac")])
def test_the_delay_of_a_codec_is_taken_out(tmp_path, extension, codec):
    wave = np.zeros(44_100, np.float32)
    wave[22_050:] = sine(0.5, 44_100)
    loaded = load_audio(encode(tmp_path / f"a.{extension}", wave, codec, 44_100, "mono"))
    onset = np.argmax(np.abs(loaded) > 0.2) / SAMPLE_RATE
    assert onset == pytest.approx(0.5, abs=0.01)


def test_resampling_keeps_out_what_the_rate_cannot_hold(tmp_path):
    high = encode(tmp_path / "a.wav", sine(1, 48_000, 11_000), "pcm_s16le", 48_000, "mono")
    assert np.abs(load_audio(high)[1000:-1000]).max() < 1e-3
    assert np.abs(load_audio(high, 48_000)[1000:-1000]).max() > 0.49


def test_floating_samples_beyond_full_scale_are_scaled_not_clipped(tmp_path):
    wave = load_audio(float_wav(tmp_path / "a.wav", sine(1, SAMPLE_RATE, peak=3.0)))
    assert np.abs(wave).max() == pytest.approx(1, abs=1e-3)
    assert np.sqrt(2 * np.mean(wave**2)) == pytest.approx(1, rel=0.01)


def test_wav_round_trip_is_exact_to_half_a_step(tmp_path):
    wave = sine(0.5, SAMPLE_RATE)
    save_wav(tmp_path / "a.wav", wave)
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), wave, atol=1.1 / 32767)
    with wave_file.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, SAMPLE_RATE)
    assert os.listdir(tmp_path) == ["a.wav"]


def test_names_with_colons_percent_signs_and_umlauts_are_plain_names(tmp_path):
    path = tmp_path / "http: täglich %03d.wav"
    save_wav(path, sine(0.5, SAMPLE_RATE))
    assert len(load_audio(path)) == 8000


def test_a_recording_cut_off_in_the_middle_gives_what_is_there(tmp_path):
    path = encode(tmp_path / "a.mp3", sine(3, 44_100), "libmp3lame", 44_100, "mono")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 1.0 < len(load_audio(path)) / SAMPLE_RATE < 2.0


def silent_video(path: Path) -> Path:
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Each kind of bad audio: its file, and what the message must say."""
    nan = sine(1, SAMPLE_RATE)
    nan[8000] = np.nan
    text, empty = folder / "text.wav", folder / "empty.wav"
    text.write_text("This is a letter.\n" * 50)
    empty.touch()
    playlist = folder / "list.mp3"
    playlist.write_text(f"#EXTM3U\n#EXTINF:1,\n{folder / 'good.wav'}\n")
    save_wav(folder / "good.wav", sine(1, SAMPLE_RATE))
    save_wav(folder / "none.wav", np.zeros(0, np.float32))
    save_wav(folder / "silent.wav", np.zeros(SAMPLE_RATE, np.float32))
    save_wav(folder / "short.wav", sine(0.05, SAMPLE_RATE))
    noise = folder / "noise.m4a"
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    cut = encode(folder / "cut.m4a", sine(1, 44_100), "aac", 44_100, "mono")
    cut.write_bytes(cut.read_bytes()[:200])
    return {
        "missing": (folder / "nowhere.wav", "no such file"),
        "folder": (folder, "folder"),
        "text": (text, "not audio"),
        "0 bytes": (empty, "empty"),
        "playlist": (playlist, "not audio|no audio"),
        "no samples": (folder / "none.wav", "nothing in it"),
        "silent": (folder / "silent.wav", "silent"),
        "0.05 s": (folder / "short.wav", "too short: 0.05 s"),
        "NaN": (float_wav(folder / "nan.wav", nan), "NaN"),
        "infinite": (
            float_wav(folder / "inf.wav", np.where(np.isnan(nan), np.inf, nan)),
            "NaN or infinite",
        ),
        "rate of 1 Hz": (float_wav(folder / "slow.wav", sine(1, 8000), rate=1), "not audio"),
        "noise": (noise, "not audio"),
        "cut off": (cut, "not audio"),
        "video without sound": (silent_video(folder / "video.mp4"), "no audio track"),
    }


@pytest.mark.parametrize(
    "kind",
    ["missing", "folder", "text", "0 bytes", "playlist", "no samples", "silent", "0.05 s", "NaN",
     "infinite", "rate of 1 Hz", "noise", "cut off", "video without sound"],
)  # fmt: skip
def test_bad_audio_is_refused_with_the_file_and_what_to_do(tmp_path, kind):
    path, reason = bad_files(tmp_path)[kind]
    with pytest.raises(UsageError, match=reason) as error:
        load_audio(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message.split(". ")) + message.count(":") >= 2  # what is wrong, and what to do
