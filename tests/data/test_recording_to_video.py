"""From a recording in any format to the sound of a finished video: same speech, same moment."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from motion_lab.data.audio import SAMPLE_RATE, SAMPLES_PER_FRAME, load_audio
from motion_lab.data.synthetic.speech import speak
from motion_lab.data.video import FPS, SOUND_RATE, VideoWriter, read_video


def encode(path: Path, wave: np.ndarray, codec: str, rate: int) -> Path:
    """Store a 16 kHz wave in another format, resampled by FFmpeg rather than by us."""
    frame = av.AudioFrame.from_ndarray(wave[None], "flt", "mono")
    frame.sample_rate = SAMPLE_RATE
    frame.pts = 0
    frame.time_base = Fraction(1, SAMPLE_RATE)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout="stereo")
        resampler = av.AudioResampler(stream.codec_context.format, "stereo", rate)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("extension", "codec", "rate"),
    [("wav", "pcm_s16le", 22_050), ("mp3", "libmp3lame", 44_100), ("m4a", "aac", 48_000)],
)
@pytest.mark.parametrize("sound_rate", [SAMPLE_RATE, SOUND_RATE])
def test_speech_comes_through_whole_and_in_time(tmp_path, extension, codec, rate, sound_rate):
    spoken = speak("Papa bought a big blue boat.").wave
    recording = encode(tmp_path / f"a.{extension}", spoken, codec, rate)
    wave = load_audio(recording)
    frames = -(-len(wave) // SAMPLES_PER_FRAME)
    sound = load_audio(recording, sound_rate)
    with VideoWriter(tmp_path / "a.mp4", 32, audio=sound, audio_rate=sound_rate) as video:
        for index in range(frames):
            video.write(np.full((32, 32, 3), index, np.uint8))

    result = read_video(tmp_path / "a.mp4")
    assert sum(1 for _ in result.frames) == frames
    assert abs(len(result.audio) / SAMPLE_RATE - frames / FPS) <= 1 / FPS
    assert abs(len(result.audio) - len(spoken)) / SAMPLE_RATE < 2 / FPS

    heard = np.zeros_like(spoken)
    heard[: len(result.audio)] = result.audio[: len(spoken)]
    size = 2 * len(spoken)
    match = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(spoken, size)), size)
    late = int(np.argmax(match))
    late -= size if late > len(spoken) else 0
    assert abs(late) / SAMPLE_RATE < 0.005
    agreement = match.max() / (np.linalg.norm(heard) * np.linalg.norm(spoken))
    assert agreement > 0.95
