"""Video in and out through PyAV: H.264 with AAC in MP4, and any video that FFmpeg reads."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import BinaryIO, NamedTuple

import av
import numpy as np
import numpy.typing as npt
import soxr
from av.video.reformatter import ColorRange, Colorspace

from motion_lab.data.audio import SAMPLE_RATE, Wave, open_media, read_track, unreadable
from motion_lab.errors import MotionLabError
from motion_lab.files import clear_write_errors, whole_file

FPS = 25
"""Frames a second of everything that the models see and make."""

SOUND_RATE = 48_000
"""Samples a second in written files. An AAC packet holds 1024 samples: at this rate half a video
frame, at 16 kHz one and a half, by which the end of the sound would miss that of the picture."""

_BT709 = 1  # AVCOL_PRI_BT709 and AVCOL_TRC_BT709

Image = npt.NDArray[np.uint8]


class VideoWriter:
    """Write frames and a sound track to an MP4 file that appears whole or not at all.

    `size` is (height, width), or one number for a square. H.264 stores even sizes only: an odd
    last row or column is written twice. `audio` is a mono wave (T,) in [-1, 1] at `audio_rate`;
    the sound track is as long as the pictures: cut where it is longer, silent where it ends early.

        with VideoWriter("out.mp4", (256, 256), audio=wave) as video:
            for frame in frames:
                video.write(frame)

    Raises UsageError where the file may not be written there, MotionLabError where the disk is
    full; in these cases, as on any exception in the block, nothing is left behind.
    """

    def __init__(
        self,
        path: str | Path,
        size: int | tuple[int, int],
        fps: float | Fraction = FPS,
        audio: Wave | None = None,
        audio_rate: int = SAMPLE_RATE,
        crf: int = 18,
    ) -> None:
        self.path = Path(path)
        self.height, self.width = (size, size) if isinstance(size, int) else size
        self.fps = Fraction(fps).limit_denominator(60_000)
        self.frames = 0
        self._sound: Wave | None = None  # what of it is not written yet
        if audio is not None:
            self._sound = soxr.resample(audio, audio_rate, SOUND_RATE).astype(np.float32)
        self._samples = 0
        self._crf = crf
        self._options: dict[str, str] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> VideoWriter:
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(whole_file(self.path))
            with clear_write_errors(self.path):
                self._container = av.open(
                    f"file:{temporary}", "w", format="mp4", options={"movflags": "+faststart"}
                )
            stack.callback(self._abandon)
            self._add_streams()
            self._stack = stack.pop_all()
        return self

    def _add_streams(self) -> None:
        video = self._container.add_stream("libx264", rate=self.fps)
        video.height = self.height + self.height % 2
        video.width = self.width + self.width % 2
        video.pix_fmt = "yuv420p"
        # The same frames make the same file: one thread here and in `reformat`, and no macroblock
        # tree, whose AVX-512 code in x264 differs from run to run at widths such as 48, 96 or 400.
        video.options = {
            "crf": str(self._crf),
            "preset": "veryfast",
            "x264-params": "mbtree=0",
            **self._options,
        }
        context = video.codec_context
        context.thread_count = 1
        context.color_primaries = context.color_trc = _BT709
        context.colorspace = Colorspace.ITU709
        context.color_range = ColorRange.MPEG
        self._video = video
        if self._sound is not None:
            self._audio = self._container.add_stream("aac", rate=SOUND_RATE, layout="mono")
            self._audio.bit_rate = 128_000

    def write(self, frame: Image) -> None:
        """Append a frame (height, width, 3), uint8 RGB, and the sound that goes with it."""
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            raise ValueError(
                f"expected a uint8 frame of shape {(self.height, self.width, 3)}, "
                f"got {frame.dtype} {frame.shape}"
            )
        if self.height % 2 or self.width % 2:
            pad = ((0, self.height % 2), (0, self.width % 2), (0, 0))
            frame = np.pad(frame, pad, mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24").reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        picture.pts = self.frames
        picture.time_base = 1 / self.fps
        with self._writing():
            self._container.mux(self._video.encode(picture))
            self.frames += 1
            self._write_sound()

    def _write_sound(self) -> None:
        """Bring the sound track to the end of the last frame written."""
        if self._sound is None:
            return
        end = round(self.frames * SOUND_RATE / self.fps)
        due = end - self._samples
        samples, self._sound = self._sound[:due], self._sound[due:]
        samples = np.pad(samples, (0, due - len(samples)))
        chunk = av.AudioFrame.from_ndarray(np.clip(samples, -1, 1)[None], "fltp", "mono")
        chunk.sample_rate = SOUND_RATE
        chunk.pts = self._samples
        chunk.time_base = Fraction(1, SOUND_RATE)
        self._container.mux(self._audio.encode(chunk))
        self._samples = end

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if not self.frames:
                raise MotionLabError(f"{self.path} was not written: there are no frames for it.")
            with self._writing():
                self._container.mux(self._video.encode(None))
                if self._sound is not None:
                    self._container.mux(self._audio.encode(None))
                self._container.close()

    def _writing(self) -> AbstractContextManager[None]:
        return clear_write_errors(self.path)

    def _abandon(self) -> None:
        # After an error, the file may refuse its ending too; the first error is the one to report.
        with contextlib.suppress(av.FFmpegError, OSError):
            self._container.close()


class LiveWriter(VideoWriter):
    """Write frames, and the sound that arrives beside them, to a pipe whose reader plays them.

    Matroska, which needs no end to be watched. `file` has `write`; an error that this raises, such
    as BrokenPipeError, ends the block.
    """

    def __init__(self, file: BinaryIO, size: int | tuple[int, int]) -> None:
        super().__init__("the live video", size)
        self._file = file
        self._options = {"tune": "zerolatency"}
        self._sound = np.zeros(0, np.float32)
        self._resampler = soxr.ResampleStream(SAMPLE_RATE, SOUND_RATE, 1, dtype="float32")

    def __enter__(self) -> LiveWriter:
        # Nothing but `write`: a pipe's `seek` is there, and fails.
        pipe = SimpleNamespace(write=self._file.write)
        options = {"live": "1", "flush_packets": "1", "cluster_time_limit": "200"}
        self._container = av.open(pipe, "w", format="matroska", options=options)
        self._stack.callback(self._abandon)
        self._add_streams()
        return self

    def _writing(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def hear(self, wave: Wave, *, last: bool = False) -> None:
        """More of the sound track, (T,) at 16 kHz."""
        more = self._resampler.resample_chunk(wave, last=last)
        self._sound = np.concatenate([self._sound, more])

    def write(self, frame: Image) -> None:
        """As of a file; what is written can be played at once."""
        super().write(frame)
        self._file.flush()


class Video(NamedTuple):
    """An open video: `frames` yields (height, width, 3) uint8 RGB; `audio` is 16 kHz or None."""

    frames: Iterator[Image]
    fps: float
    audio: Wave | None


def read_video(path: str | Path, fps: float | None = None) -> Video:
    """Open a video; its frames are decoded as they are asked for, upright as a player shows them.

    With `fps`, frames are repeated or left out by their time stamps so that they come at that
    constant rate; without, every frame comes once. `audio` is the first sound track, however
    short or silent, mono at 16 kHz.

    Raises UsageError where the file is missing, is no video or has no picture in it.
    """
    path = Path(path)
    container = open_media(path, "video")
    if not container.streams.video:
        container.close()
        raise unreadable(path, "video")
    audio = read_track(path, SAMPLE_RATE)
    own_rate = float(container.streams.video[0].average_rate or FPS)
    frames = _decoded(container, path)
    pictures = (picture for _, picture in frames) if fps is None else _at_rate(frames, fps)
    return Video(pictures, own_rate if fps is None else fps, audio)


def _decoded(container: av.container.InputContainer, path: Path) -> Iterator[tuple[float, Image]]:
    """Yield (seconds, picture) of each frame; a file cut off in the middle ends there."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    count = 0
    with container:
        try:
            for frame in container.decode(stream):
                picture = frame.to_ndarray(format="rgb24")
                seconds = frame.time
                if seconds is None:
                    seconds = count / float(stream.average_rate or FPS)
                count += 1
                yield seconds, np.rot90(picture, frame.rotation // 90)
        except (av.FFmpegError, OSError) as error:
            if not count:
                raise unreadable(path, "video") from error
    if not count:
        raise unreadable(path, "video")


def _at_rate(frames: Iterator[tuple[float, Image]], fps: float) -> Iterator[Image]:
    """Show at each multiple of 1/fps the frame on screen at that time, as a player would."""
    shown, start, index = None, 0.0, 0
    half = 0.5 / fps
    for seconds, picture in frames:
        if shown is None:
            start = seconds
        while shown is not None and index / fps + half <= seconds - start:
            yield shown
            index += 1
        shown = picture
    if shown is not None:
        yield shown


def contact_sheet(frames: Iterable[Image], columns: int, gap: int = 2) -> Image:
    """Lay frames of one size (height, width, 3) out in rows on white, `gap` pixels apart."""
    pictures = list(frames)
    if not pictures or columns < 1:
        raise ValueError("a contact sheet needs at least one frame and one column")
    height, width, channels = pictures[0].shape
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    sheet = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8
    )
    for index, picture in enumerate(pictures):
        top = index // columns * (height + gap)
        left = index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet
