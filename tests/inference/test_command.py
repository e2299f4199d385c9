"""`motion-lab animate` on real files: what it makes, and what it says about bad ones."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import skimage.data
from PIL import Image as Pillow
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from motion_lab import cli
from motion_lab.data.audio import save_wav
from motion_lab.data.video import read_video


@pytest.fixture
def run(checkpoint, tmp_path, capsys, monkeypatch):
    """Run `motion-lab animate`; gives the exit code and what stderr says."""
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path / "results")

    def animate(*arguments, weights=checkpoint):
        with pytest.raises(SystemExit) as stop:
            cli.main(["animate", *map(str, arguments), "--checkpoint", str(weights)])
        return stop.value.code, capsys.readouterr().err

    return animate


def encode(wave, path, codec, container):
    """Write a wave with another codec than the project's own writer has."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    return path


@pytest.mark.parametrize("kind", ["wav", "mp3", "m4a"])
def test_any_recording_and_a_jpeg_make_a_video(run, tmp_path, kind):
    wave = (0.3 * np.sin(np.arange(16000) * 0.1)).astype(np.float32)
    path = tmp_path / f"speech.{kind}"
    if kind == "wav":
        save_wav(path, wave)
    else:
        encode(wave, path, *{"mp3": ("libmp3lame", "mp3"), "m4a": ("aac", "ipod")}[kind])
    Pillow.fromarray(skimage.data.astronaut()).save(tmp_path / "me.jpg")
    code, err = run(tmp_path / "me.jpg", path)
    assert code == 0, err
    video = read_video("me.mp4")
    frames = list(video.frames)
    assert 24 <= len(frames) <= 28
    assert frames[0].shape == (64, 64, 3)
    assert abs(len(video.audio) / 16000 - len(frames) / 25) <= 1 / 25


def test_the_same_seed_gives_the_same_frames(run, portrait, recording):
    for name, seed in (("a", 3), ("b", 3)):
        assert run(portrait, recording, "-o", f"{name}.mp4", "--seed", seed)[0] == 0
    first, second = (list(read_video(name).frames) for name in ("a.mp4", "b.mp4"))
    np.testing.assert_array_equal(first, second)


def bad_picture(folder, kind):
    path = folder / f"{kind}.png"
    if kind == "no_face":
        Pillow.fromarray(skimage.data.coffee()).save(path)
    elif kind == "strip":
        Pillow.new("RGB", (20000, 10)).save(path)
    elif kind == "tiny":
        Pillow.new("RGB", (5, 5)).save(path)
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("I am a picture, believe me.\n")
    elif kind == "truncated":
        Pillow.fromarray(skimage.data.astronaut()).save(path)
        path.write_bytes(path.read_bytes()[:100_000])
    return path


def bad_sound(folder, kind):
    path = folder / f"{kind}.wav"
    hum = (0.3 * np.sin(np.arange(16000) * 0.1)).astype(np.float32)
    if kind == "text":
        path.write_text("I am a recording, believe me.\n" * 10)
    elif kind == "empty":
        path.touch()
    elif kind == "silent":
        save_wav(path, 0 * hum)
    elif kind == "short":
        save_wav(path, hum[:800])  # 0.05 s
    elif kind == "nan":
        hum[100] = np.nan
        with av.open(str(path), "w", format="wav") as out:
            stream = out.add_stream("pcm_f32le", rate=16000, layout="mono")
            frame = av.AudioFrame.from_ndarray(hum[None], format="flt", layout="mono")
            frame.sample_rate = 16000
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                out.mux(packet)
    return path


def expect_refusal(result, code, *words):
    """The exit code; one paragraph; nothing left in the folder of results."""
    assert result[0] == code, result[1]
    assert result[1].startswith("motion-lab: ")
    assert len(result[1].strip().splitlines()) == 1
    for word in words:
        assert word in result[1]
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("no_face", "No face"),
        ("strip", "20000x10"),
        ("tiny", "5x5"),
        ("empty", "empty"),
        ("text", "not a picture"),
        ("truncated", "damaged"),
        ("missing", "no such file"),
    ],
)
def test_a_bad_picture_is_refused(run, tmp_path, recording, kind, says):
    path = bad_picture(tmp_path, kind)
    expect_refusal(run(path, recording), 2, says, path.name)


@pytest.mark.parametrize("kind", ["text", "empty", "silent", "short", "nan", "missing"])
def test_bad_sound_is_refused(run, tmp_path, portrait, kind):
    path = bad_sound(tmp_path, kind)
    expect_refusal(run(portrait, path), 2, path.name)


def test_a_missing_checkpoint_is_refused(run, portrait, recording, tmp_path):
    expect_refusal(run(portrait, recording, weights="large"), 2, "--checkpoint large")
    (tmp_path / "hollow").mkdir()
    expect_refusal(run(portrait, recording, weights=tmp_path / "hollow"), 2, "base.safetensors")


@pytest.mark.parametrize("name", ["base.safetensors", "motion.safetensors"])
def test_a_truncated_checkpoint_is_refused(run, portrait, recording, checkpoint, name):
    file = checkpoint / name
    file.write_bytes(file.read_bytes()[:1000])
    expect_refusal(run(portrait, recording), 1, name)


def test_two_stages_that_do_not_belong_together_are_refused(run, portrait, recording, checkpoint):
    base = checkpoint / "base.safetensors"
    state = load_file(base)
    with safe_open(base, framework="pt") as file:
        metadata = file.metadata()
    next(value for name, value in state.items() if name.startswith("motion_encoder.")).add_(1)
    save_file(state, base, metadata)
    expect_refusal(run(portrait, recording), 1, "motion.safetensors")


def test_a_read_only_folder_is_refused(run, portrait, recording, monkeypatch):
    # The tests may run as root, whom no folder refuses: let the system call refuse instead.
    def touch(self, *args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", touch)
    expect_refusal(run(portrait, recording, "-o", "out.mp4"), 2, "read-only")


def test_a_missing_folder_is_refused(run, portrait, recording):
    expect_refusal(run(portrait, recording, "-o", "nowhere/out.mp4"), 2, "nowhere")


def test_wrong_options_are_wrong_use(run, portrait, recording):
    assert run(portrait, recording, "--steps", "many")[0] == 2
    assert run()[0] == 2
    expect_refusal(run(portrait), 2, "Nothing moves")


def test_ctrl_c_leaves_nothing(checkpoint, portrait, tmp_path):
    minutes = np.tile((0.3 * np.sin(np.arange(16000) * 0.1)).astype(np.float32), 120)
    save_wav(tmp_path / "long.wav", minutes)
    folder = tmp_path / "results"
    folder.mkdir()
    output = folder / "out.mp4"
    command = [sys.executable, "-m", "motion_lab", "animate", portrait, tmp_path / "long.wav"]
    running = subprocess.Popen(
        [*map(str, command), "-o", str(output), "--checkpoint", str(checkpoint)],
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(6000):
        # The finished check of the folder leaves a file for a moment, the video's own has content.
        if any(file.stat().st_size for file in folder.glob("*.part") if file.exists()):
            break
        assert running.poll() is None, running.communicate()[1]
        time.sleep(0.01)
    else:
        running.kill()
        raise AssertionError("nothing was written within a minute")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert os.listdir(folder) == []
