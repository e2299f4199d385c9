"""A portrait that speaks while its sound arrives."""

import contextlib
import io
import subprocess
import sys

import av
import numpy as np
import pytest
import torch

from motion_lab.data.audio import load_audio
from motion_lab.data.video import LiveWriter
from motion_lab.errors import UsageError
from motion_lab.inference.animate import load_models
from motion_lab.inference.stream import Stream


def frames_of(data: bytes):
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def sound_of(data: bytes):
    with av.open(io.BytesIO(data)) as container:
        return np.concatenate([each.to_ndarray()[0] for each in container.decode(audio=0)])


def test_frames_come_when_their_sound_has_been_heard(checkpoint, portrait, recording):
    models = load_models(checkpoint, torch.device("cpu"))
    stream = Stream(portrait, models, hop=4, look_ahead=3)
    wave = load_audio(recording)
    early = list(stream.hear(wave[: 640 * 7 - 1]))
    assert early == []
    first = list(stream.hear(wave[640 * 7 - 1 : 640 * 7]))
    assert len(first) == 3  # of four: the last waits for the frame after it
    assert first[0].shape == (stream.size, stream.size, 3)
    rest = [*stream.hear(wave[640 * 7 :]), *stream.finish()]
    assert len(rest) == 22
    whole = Stream(portrait, models, hop=4, look_ahead=3)
    np.testing.assert_array_equal([*first, *rest], [*whole.hear(wave), *whole.finish()])


def test_a_live_video_can_be_watched_before_it_ends():
    pipe = io.BytesIO()
    time = np.arange(16000) / 16000
    tone = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    with LiveWriter(pipe, (48, 64)) as video:
        video.hear(tone)
        for level in range(20):
            video.write(np.full((48, 64, 3), 10 * level, np.uint8))
        before = frames_of(pipe.getvalue())
    assert len(before) >= 12
    made = frames_of(pipe.getvalue())
    assert len(made) == 20
    np.testing.assert_allclose([frame.mean() for frame in made], 10 * np.arange(20), atol=4)
    heard = sound_of(pipe.getvalue())
    assert len(heard) / 48000 == pytest.approx(20 / 25, abs=0.05)
    spectrum = np.abs(np.fft.rfft(heard[4800:28800]))
    assert np.argmax(spectrum) * 48000 / 24000 == pytest.approx(440, abs=3)


def test_from_pipe_to_pipe(checkpoint, portrait, recording):
    sound = (load_audio(recording) * 32767).astype("<i2").tobytes()
    command = [sys.executable, "-m", "motion_lab", "stream", str(portrait)]
    command += ["--checkpoint", str(checkpoint), "--device", "cpu"]
    done = subprocess.run(command, input=sound, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert len(frames_of(done.stdout)) == 25
    assert np.abs(sound_of(done.stdout)).max() > 0.3


def test_it_ends_quietly_when_nobody_watches(checkpoint, portrait):
    command = [sys.executable, "-m", "motion_lab", "stream", str(portrait)]
    command += ["--checkpoint", str(checkpoint), "--device", "cpu"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        process.stdout.close()
        # The command may be gone before it has heard everything.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(bytes(2 * 16000 * 4))
            process.stdin.close()
        complaint = process.stderr.read().decode()
        assert process.wait(60) == 0, complaint
    assert "roken" not in complaint


def test_no_face_is_refused(checkpoint, tmp_path):
    from PIL import Image as Pillow

    Pillow.fromarray(np.zeros((200, 200, 3), np.uint8)).save(path := tmp_path / "black.png")
    with pytest.raises(UsageError, match="face"):
        Stream(path, load_models(checkpoint, torch.device("cpu")))
