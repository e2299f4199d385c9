"""Video files: whole or absent, sound as long as picture, what is read is what was written."""

from __future__ import annotations

import contextlib
import errno
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from motion_lab.data.audio import SAMPLE_RATE, save_wav
from motion_lab.data.video import VideoWriter, contact_sheet, read_video
from motion_lab.errors import MotionLabError, UsageError


def sine(seconds: float, rate: int = SAMPLE_RATE) -> np.ndarray:
    return np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate).astype(np.float32) / 2


def colours(count: int, height: int, width: int) -> list[np.ndarray]:
    """Frames with a smooth ramp whose colour changes from frame to frame."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return [
        np.stack([200 * x, 200 * y, np.full_like(x, 250 * i / max(count - 1, 1))], -1).astype(
            np.uint8
        )
        for i in range(count)
    ]


def write(path: Path, frames: list[np.ndarray], **options) -> Path:
    with VideoWriter(path, frames[0].shape[:2], **options) as video:
        for frame in frames:
            video.write(frame)
    return path


def lengths(path: Path) -> tuple[float, float]:
    """Seconds of picture and of sound, counted by decoding."""
    with av.open(str(path)) as file:
        frames = sum(1 for _ in file.decode(video=0))
        rate = float(file.streams.video[0].average_rate)
    with av.open(str(path)) as file:
        samples = sum(frame.samples for frame in file.decode(audio=0))
        return frames / rate, samples / file.streams.audio[0].rate


def test_frames_come_back_in_order_with_their_colours(tmp_path):
    frames = colours(30, 64, 96)
    video = read_video(write(tmp_path / "a.mp4", frames))
    decoded = list(video.frames)
    assert (len(decoded), video.fps, video.audio) == (30, 25.0, None)
    difference = np.abs(np.stack(decoded).astype(int) - np.stack(frames))
    assert difference.mean() < 3
    assert np.abs(np.mean(np.stack(decoded) - np.stack(frames).astype(float), (0, 1, 2))).max() < 2


def test_the_file_is_h264_and_aac_with_the_index_first_and_colours_named(tmp_path):
    path = write(tmp_path / "a.mp4", colours(5, 32, 32), audio=sine(0.2))
    with av.open(str(path)) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert video.codec_context.pix_fmt == "yuv420p"
        assert (video.codec_context.colorspace, video.codec_context.color_range) == (1, 1)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("frames", [1, 7, 50])
@pytest.mark.parametrize("sound", [0.05, 2.0, 9.0])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_sound_is_as_long_as_the_picture(tmp_path, frames, sound, rate):
    path = write(
        tmp_path / "a.mp4", colours(frames, 32, 32), audio=sine(sound, rate), audio_rate=rate
    )
    picture, heard = lengths(path)
    assert picture == pytest.approx(frames / 25)
    assert heard == pytest.approx(picture, abs=1 / 25)


def test_sound_and_picture_stay_together(tmp_path):
    frames = [np.full((32, 32, 3), 255 * (i >= 30), np.uint8) for i in range(60)]
    wave = np.where(np.arange(60 * 640) >= 30 * 640, sine(60 / 25), 0)
    video = read_video(write(tmp_path / "a.mp4", frames, audio=wave))
    flash = next(i for i, frame in enumerate(video.frames) if frame.mean() > 128) / 25
    beep = np.argmax(np.abs(video.audio) > 0.1) / SAMPLE_RATE
    assert flash == pytest.approx(1.2)
    assert beep == pytest.approx(1.2, abs=0.01)


def test_an_odd_size_keeps_its_pixels_and_gains_an_edge(tmp_path):
    frame = colours(1, 33, 47)[0]
    (decoded,) = read_video(write(tmp_path / "a.mp4", [frame])).frames
    assert decoded.shape == (34, 48, 3)
    assert np.abs(decoded[:33, :47].astype(int) - frame).mean() < 4


@pytest.mark.parametrize("size", [48, 400])
def test_the_same_frames_and_sound_make_the_same_file(tmp_path, size):
    frames = colours(20, size, size)
    files = {
        write(tmp_path / f"{i}.mp4", frames, audio=sine(1)).read_bytes()
        for i in range(20 if size < 100 else 4)
    }
    assert len(files) == 1


@pytest.mark.parametrize("fps", [12.5, 25, 50])
def test_another_rate_keeps_the_time_of_every_frame(tmp_path, fps):
    frames = [np.full((32, 32, 3), 4 * i, np.uint8) for i in range(50)]
    video = read_video(write(tmp_path / "a.mp4", frames), fps=fps)
    shades = np.array([frame.mean() / 4 for frame in video.frames])
    assert video.fps == fps
    assert len(shades) == pytest.approx(50 * fps / 25, abs=1)
    expected = np.arange(len(shades)) * 25 / fps
    assert np.abs(shades - expected).max() < 1.3


def test_a_video_turned_on_its_side_by_a_phone_is_read_upright(tmp_path):
    frame = np.zeros((32, 64, 3), np.uint8)
    frame[:16, :16] = 255
    path = write(tmp_path / "a.mp4", [frame])
    data = bytearray(path.read_bytes())
    # The track header's matrix (ISO 14496-12, 8.3.2), 40 bytes behind the version: a quarter turn
    # clockwise, as phones held upright write it.
    start = data.index(b"tkhd") + 4 + 40
    turn = [0, 1 << 16, 0, -(1 << 16) & 0xFFFFFFFF, 0, 0, 32 << 16, 0, 1 << 30]
    data[start : start + 36] = b"".join(value.to_bytes(4, "big") for value in turn)
    path.write_bytes(data)
    (picture,) = read_video(path).frames
    assert picture.shape == (64, 32, 3)
    assert picture[:12, -12:].mean() > 200
    assert picture[20:].mean() < 60


def test_an_error_or_interrupt_leaves_no_file_and_the_old_one_untouched(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")

    def stop(error: type[BaseException]) -> None:
        with VideoWriter(path, 32, audio=sine(1)) as video:
            video.write(np.zeros((32, 32, 3), np.uint8))
            raise error

    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            stop(error)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == b"old"


def test_no_frames_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(MotionLabError, match="no frames"), VideoWriter(tmp_path / "a.mp4", 32):
        pass
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_and_a_device_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        write(tmp_path / "none" / "a.mp4", colours(1, 32, 32))
    with pytest.raises(UsageError, match="not an ordinary file"):
        write(Path("/dev/null"), colours(1, 32, 32))
    with pytest.raises(UsageError, match="not an ordinary file"):
        write(tmp_path, colours(1, 32, 32))


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    # Root, as tests in containers often run, may write anywhere; so the refusal is made here.
    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(UsageError, match="read-only"):
        write(tmp_path / "a.mp4", colours(1, 32, 32))
    assert not list(tmp_path.iterdir())


@contextlib.contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Files cannot grow past `size` bytes: the nearest a test comes to a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.97, 1])
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path, share):
    frames = list(np.random.default_rng(0).integers(0, 255, (10, 64, 64, 3), np.uint8))
    whole = write(tmp_path / "a.mp4", frames, audio=sine(1))
    size = whole.stat().st_size
    whole.unlink()
    with disk_of(int(share * size) - 1 if share else 0):
        with pytest.raises(MotionLabError, match="full"):
            write(tmp_path / "a.mp4", frames, audio=sine(1))
        with pytest.raises(MotionLabError, match="full"):
            save_wav(tmp_path / "a.wav", sine(4))
    assert not list(tmp_path.iterdir())


def test_frames_of_another_size_are_refused(tmp_path):
    with (
        pytest.raises(ValueError, match="32, 32, 3"),
        VideoWriter(tmp_path / "a.mp4", 32) as video,
    ):
        video.write(np.zeros((16, 16, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_what_is_no_video_is_refused(tmp_path):
    text, sound = tmp_path / "text.mp4", tmp_path / "sound.mp4"
    text.write_text("no video\n" * 100)
    save_wav(sound, sine(1))
    for path in (text, sound, tmp_path / "none.mp4"):
        with pytest.raises(UsageError, match=str(path)):
            list(read_video(path).frames)


def test_a_contact_sheet_lays_frames_out_in_rows():
    frames = [np.full((4, 6, 3), i, np.uint8) for i in range(5)]
    sheet = contact_sheet(frames, columns=3, gap=1)
    assert sheet.shape == (4 * 2 + 1, 6 * 3 + 2, 3)
    assert sheet[0, 0, 0] == 0
    assert sheet[-1, 6 + 1, 0] == 4
    assert (sheet[4] == 255).all()
    assert (sheet[-1, -1] == 255).all()


def test_a_killed_writer_leaves_the_target_absent(tmp_path):
    program = (
        "import os, sys, numpy as np\n"
        "from motion_lab.data.video import VideoWriter\n"
        "with VideoWriter(sys.argv[1], 64) as video:\n"
        "    for _ in range(30): video.write(np.zeros((64, 64, 3), np.uint8))\n"
        "    os._exit(9)\n"
    )
    path = tmp_path / "a.mp4"
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == 9
    assert not path.exists()
