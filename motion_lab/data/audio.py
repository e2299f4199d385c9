"""Sound in and out: any file that FFmpeg reads becomes a mono wave at the rate asked for."""

from __future__ import annotations

import wave as wave_file
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soxr

from motion_lab.errors import UsageError
from motion_lab.files import clear_write_errors, whole_file

SAMPLE_RATE = 16_000
"""Samples a second of every wave that the models see."""

SAMPLES_PER_FRAME = 640
"""Samples of a wave at SAMPLE_RATE that fall on one video frame at 25 frames a second."""

SHORTEST = 0.2
"""Seconds; what is shorter holds no syllable."""

SILENCE = 1e-4
"""A recording whose peak stays below this (-80 dB of full scale) is called silent."""

_RATES = (1_000, 1_000_000)  # what a damaged header claims beyond these would fill the memory

Wave = npt.NDArray[np.float32]


def load_audio(path: str | Path, sample_rate: int = SAMPLE_RATE) -> Wave:
    """Read the first sound track of a file (WAV, MP3, M4A, FLAC, OGG, a video, ...).

    Returns a mono wave (T,) in [-1, 1]: channels averaged, resampled by soxr, and scaled down
    where floating-point samples exceed full scale.

    Raises UsageError where the file is missing, is no audio, has no sound track, is empty, silent
    or shorter than SHORTEST, or holds samples that are no numbers.
    """
    path = Path(path)
    wave = read_track(path, sample_rate)
    if wave is None:
        raise UsageError(f"{path} has no audio track. Give a recording, or a video with sound.")
    seconds = len(wave) / sample_rate
    if seconds == 0:
        raise UsageError(f"{path} has an audio track, but there is nothing in it. Record it again.")
    if seconds < SHORTEST:
        raise UsageError(
            f"{path} is too short: {seconds:.2f} s of audio, at least {SHORTEST} s are needed. "
            "Give a longer recording."
        )
    if np.abs(wave).max() < SILENCE:
        raise UsageError(
            f"{path} is silent: no sample of its {seconds:.1f} s is audible, so there is no speech "
            "to follow. Check the recording or its volume."
        )
    return wave


def read_track(path: Path, sample_rate: int) -> Wave | None:
    """Read the first sound track like `load_audio`, but accept any length and silence.

    Returns None where the file has no sound track.
    """
    with open_media(path, "audio") as container:
        if not container.streams.audio:
            return None
        chunks = list(_resampled(_mono_chunks(container, path), sample_rate))
    wave = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    peak = np.abs(wave).max(initial=0.0)
    if peak > 1:
        wave /= peak
    return wave


def save_wav(
    path: str | Path, wave: npt.NDArray[np.floating], sample_rate: int = SAMPLE_RATE
) -> None:
    """Write a mono wave (T,) in [-1, 1] as 16-bit WAV; the file appears whole or not at all."""
    samples = np.round(np.clip(wave, -1, 1) * 32767).astype("<i2")
    with (
        whole_file(path) as temporary,
        clear_write_errors(path),
        wave_file.open(str(temporary), "wb") as out,
    ):
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(samples.tobytes())


def open_media(path: Path, kind: str) -> av.container.InputContainer:
    """Open a media file for reading; `kind` ("audio", "video") names in errors what was expected.

    Raises UsageError where there is no such file or FFmpeg cannot tell what it is.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such file. Check the name.")
    if not path.is_file():
        raise UsageError(f"{path} is a folder or a device. Give a file of {kind}.")
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is empty (0 bytes). Give a file of {kind}.")
    try:
        # "file:" keeps a colon in the name from being read as a protocol; the whitelist keeps a
        # playlist in disguise from reaching other places.
        return av.open(
            f"file:{path}", metadata_errors="ignore", options={"protocol_whitelist": "file"}
        )
    except PermissionError as error:
        raise UsageError(f"{path} may not be read: change its permissions.") from error
    except (av.FFmpegError, OSError) as error:
        raise unreadable(path, kind) from error


def unreadable(path: Path, kind: str) -> UsageError:
    """The error for a file that is not what its name says."""
    examples = {"audio": "WAV, MP3, M4A, FLAC or OGG", "video": "MP4, MOV, WebM or AVI"}[kind]
    return UsageError(
        f"{path} is not {kind} that can be read: it is damaged or something else under that name. "
        f"Give {examples}."
    )


def _mono_chunks(container: av.container.InputContainer, path: Path) -> Iterator[tuple[int, Wave]]:
    """Yield (sample rate, samples) of each decoded frame; damaged packets are left out."""
    seconds, decoded = 0.0, 0
    damaged: Exception | None = None
    packets = container.demux(container.streams.audio[0])
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except (av.FFmpegError, OSError) as error:  # a file cut off in the middle ends here
            damaged = error
            break
        try:
            frames = packet.decode()
        except (av.FFmpegError, OSError) as error:
            damaged = error
            continue
        for frame in frames:
            if not _RATES[0] <= frame.sample_rate <= _RATES[1]:
                raise unreadable(path, "audio")
            chunk = _mono(frame)
            if not np.isfinite(chunk).all():
                raise UsageError(
                    f"{path} holds samples that are not numbers (NaN or infinite) at "
                    f"{seconds:.2f} s. Export the recording again, as 16-bit WAV for example."
                )
            seconds += len(chunk) / frame.sample_rate
            decoded += 1
            yield frame.sample_rate, chunk
    if damaged is not None and not decoded:
        raise unreadable(path, "audio") from damaged


def _mono(frame: av.AudioFrame) -> Wave:
    """Average the channels of a frame of any sample format into float samples."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        full_scale, offset = 128.0, 128.0
    elif samples.dtype.kind == "i":
        full_scale, offset = 2.0 ** (8 * samples.itemsize - 1), 0.0
    else:
        full_scale, offset = 1.0, 0.0
    return ((samples.mean(axis=0, dtype=np.float64) - offset) / full_scale).astype(np.float32)


def _resampled(chunks: Iterator[tuple[int, Wave]], sample_rate: int) -> Iterator[Wave]:
    """Bring chunks to one rate as they come; a track may change its own rate on the way."""
    stream, stream_rate = None, sample_rate
    for rate, chunk in chunks:
        if rate != stream_rate:
            if stream is not None:
                yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
            stream_rate = rate
            stream = (
                None
                if rate == sample_rate
                else soxr.ResampleStream(rate, sample_rate, num_channels=1, dtype="float32")
            )
        yield chunk if stream is None else stream.resample_chunk(chunk)
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
