"""The main job, from inputs to the video file."""

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image as Pillow
from rich.console import Console

from motion_lab.data.audio import read_track, save_wav
from motion_lab.data.video import VideoWriter, read_video
from motion_lab.errors import MotionLabError, UsageError
from motion_lab.inference.animate import Job, animate, render
from motion_lab.inference.controls import Controls
from motion_lab.inference.demo import demo
from motion_lab.inference.motion import save_motion
from motion_lab.inference.stages import Stages


def watch(path):
    """All frames (F, H, W, 3) of a video, as numbers."""
    return np.stack(list(read_video(path).frames)).astype(float)


def levels(path):
    """Brightness of each frame relative to the first."""
    mean = watch(path).mean((1, 2, 3)) / 255
    return mean - mean[0]


@pytest.fixture
def job(portrait, recording, tmp_path):
    def build(**changes):
        given = {"portrait": portrait, "output": tmp_path / "out.mp4", "audio": recording}
        return Job(**(given | changes))

    return build


def clip(path, picture, steps, sound=None):
    """A video of one picture that grows lighter by the given steps."""
    with VideoWriter(path, picture.shape[:2], 25, sound) as video:
        for step in steps:
            video.write(np.clip(picture + 255.0 * step, 0, 255).astype(np.uint8))
    return path


def test_the_portrait_moves_with_the_sound(job, toys):
    made = animate(job(), toys)
    frames = watch(made.path)
    assert frames.shape == (25, 64, 64, 3)
    assert made.frames == 25
    loud = levels(made.path)
    assert loud[15:].mean() - loud[:10].mean() > 0.2


def test_picture_and_sound_are_equally_long(job, toys, recording):
    made = animate(job(), toys)
    sound = read_track(made.path, 16000)
    assert abs(len(sound) / 16000 - made.frames / 25) <= 1 / 25


def test_the_frames_show_the_face_of_the_portrait(job, toys):
    still = watch(animate(job(guidance=0.0), toys).path)[0]
    crop = Pillow.fromarray(skimage.data.astronaut()).crop((107, 4, 343, 240)).resize((64, 64))
    assert np.corrcoef(still.ravel(), np.asarray(crop, float).ravel())[0, 1] > 0.97


def test_the_seed_decides_every_pixel(job, toys, tmp_path):
    frames_of = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        made = animate(job(output=tmp_path / f"{name}.mp4", seed=seed), toys)
        frames_of[name] = watch(made.path)
    np.testing.assert_array_equal(frames_of["a"], frames_of["b"])
    assert not np.array_equal(frames_of["a"], frames_of["c"])


def test_controls_reach_the_frames(job, toys, tmp_path):
    plain = levels(animate(job(guidance=0.4), toys).path)
    asked = Controls(expression=0.5)
    half = job(guidance=0.4, controls=asked, output=tmp_path / "half.mp4")
    assert levels(animate(half, toys).path)[-1] == pytest.approx(plain[-1] / 2, abs=0.02)


def test_an_idle_portrait_makes_no_sound(job, toys):
    made = animate(job(audio=None, idle=0.6), toys)
    assert made.frames == 15
    assert read_track(made.path, 16000) is None


def test_size_and_full_frame(job, toys, tmp_path):
    assert watch(animate(job(size=96), toys).path).shape[1:3] == (96, 96)
    frames = watch(animate(job(full_frame=True, output=tmp_path / "b.mp4"), toys).path)
    assert frames.shape == (25, 512, 512, 3)
    original = skimage.data.astronaut().astype(float)
    change = np.abs(frames[-1] - original).mean(2)
    assert change[60:180, 160:290].mean() > 25  # the face grows lighter
    assert change[300:].mean() < 5  # the rest stays
    half = watch(animate(job(full_frame=True, size=256, output=tmp_path / "c.mp4"), toys).path)
    assert half.shape[1:3] == (256, 256)
    assert np.abs(half[:, 200:].mean(0) - original[400::2, ::2]).mean() < 12


def test_a_driving_video_moves_relative_to_its_first_frame(job, toys, tmp_path):
    # Another person's picture level must not matter, only how it changes.
    dark = (skimage.data.astronaut() * 0.5).astype(np.uint8)[:, ::-1]
    steps = np.linspace(0, 0.2, 20)
    driving = clip(tmp_path / "driving.mp4", dark, steps)
    made = animate(job(audio=None, driving=driving), toys)
    assert made.frames == 20
    assert levels(made.path) == pytest.approx(steps, abs=0.03)
    assert read_video(made.path).audio is None


def test_the_sound_of_a_driving_video_is_kept_unless_another_is_given(job, toys, tmp_path):
    hum = 0.3 * np.sin(np.arange(12800) * 0.2).astype(np.float32)
    driving = clip(tmp_path / "driving.mp4", skimage.data.astronaut(), np.zeros(20), hum)
    kept = animate(job(audio=None, driving=driving), toys).path
    assert np.abs(read_track(kept, 16000)).mean() == pytest.approx(0.19, abs=0.03)
    other = animate(job(driving=driving, output=tmp_path / "b.mp4"), toys).path
    first, last = np.split(read_track(other, 16000)[:12000], [8000])
    assert np.abs(first).mean() < 0.03 < np.abs(last).mean()


def test_saved_motion_moves_again(job, toys, tmp_path):
    saved = tmp_path / "motion.safetensors"
    first = animate(job(save_motion=saved), toys)
    again = animate(job(audio=None, motion=saved, output=tmp_path / "b.mp4"), toys)
    assert np.array_equal(watch(first.path), watch(again.path))


def test_motion_of_another_model_is_refused(job, toys, tmp_path):
    saved = tmp_path / "motion.safetensors"
    save_motion(saved, torch.zeros(5, 2), "1" * 64)
    with pytest.raises(UsageError, match="another base model"):
        animate(job(audio=None, motion=saved), toys)


@pytest.mark.parametrize("content", [b"", b"not a motion file", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_motion_file_is_refused(job, toys, tmp_path, content):
    saved = tmp_path / "motion.safetensors"
    saved.write_bytes(content)
    with pytest.raises(MotionLabError, match="cannot be read as motion"):
        animate(job(audio=None, motion=saved), toys)


def test_text_is_spoken(job, toys):
    pytest.importorskip("espeakng_loader")
    made = animate(job(audio=None, text="Good morning to you."), toys)
    assert 20 < made.frames < 75
    assert np.abs(read_track(made.path, 16000)).mean() > 0.005


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"audio": None}, "Nothing moves"),
        ({"text": "both"}, "not both"),
        ({"idle": 3.0}, "give no words"),
        ({"audio": None, "idle": 3.0, "driving": "a.mp4"}, "one of --driving"),
        ({"audio": None, "idle": -1.0}, "--idle -1"),
        ({"controls": Controls(head=9)}, "--head 9"),
        ({"driving": "a.mp4", "controls": Controls(pose=(1, 2, 3))}, "--pose"),
        ({"driving": "a.mp4", "motion": "b.safetensors"}, "one of --driving"),
        ({"size": 7}, "--size"),
        ({"steps": 0}, "--steps"),
        ({"device": "abacus"}, "--device"),
    ],
)
def test_options_that_do_not_go_together_are_refused(job, toys, changes, says):
    with pytest.raises(UsageError, match=says):
        animate(job(**changes), toys)


def test_other_containers_than_mp4_are_refused(job, toys, tmp_path):
    with pytest.raises(UsageError, match=r"\.mp4"):
        animate(job(output=tmp_path / "out.avi"), toys)


def test_several_faces_are_said(job, toys, tmp_path, capsys):
    face = skimage.data.astronaut()
    picture = np.concatenate([face[::2, ::2], face[::2, ::2]], 1)
    Pillow.fromarray(picture).save(tmp_path / "two.png")
    animate(job(portrait=tmp_path / "two.png"), toys, Stages(Console(stderr=True)))
    assert "shows 2 faces; the largest is animated" in capsys.readouterr().err


def test_a_picture_without_a_face_can_be_used_whole(job, toys, tmp_path):
    Pillow.fromarray(skimage.data.coffee()).save(tmp_path / "coffee.png")
    with pytest.raises(UsageError, match="No face"):
        animate(job(portrait=tmp_path / "coffee.png"), toys)
    made = animate(job(portrait=tmp_path / "coffee.png", crop=False), toys)
    assert made.frames == 25


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_job_leaves_nothing(job, toys, tmp_path, monkeypatch, interruption):
    decode = type(toys.base).decode
    calls = []

    def fails_later(self, source, deviation):
        calls.append(1)
        if len(calls) == 3:
            raise interruption
        return decode(self, source, deviation)

    monkeypatch.setattr(type(toys.base), "decode", fails_later)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(interruption):
        animate(job(), toys)
    assert sorted(tmp_path.iterdir()) == before


def test_motion_that_is_no_number_is_refused(job, toys, tmp_path, monkeypatch):
    broken = torch.full((1, 5, 2), float("nan"))
    monkeypatch.setattr(type(toys.motion), "generate", lambda *args, **options: broken)
    with pytest.raises(MotionLabError, match="no number"):
        animate(job(), toys)
    assert not (tmp_path / "out.mp4").exists()


def test_long_work_starts_only_when_all_inputs_are_good(job, toys, tmp_path, monkeypatch):
    def never(*args, **options):
        raise AssertionError("the long work had begun")

    monkeypatch.setattr(type(toys.motion), "generate", never)
    silent = tmp_path / "silent.wav"
    save_wav(silent, np.zeros(16000, np.float32))
    for changes in (
        {"audio": silent},
        {"portrait": tmp_path / "nobody.png"},
        {"output": tmp_path / "nowhere" / "out.mp4"},
        {"save_motion": tmp_path / "nowhere" / "motion.safetensors"},
    ):
        with pytest.raises(UsageError):
            animate(job(**changes), toys)


def test_batches_do_not_change_the_frames(toys):
    source = toys.base.encode_source(torch.rand(1, 3, 64, 64))
    motion = torch.rand(7, 2)
    one, four = (list(render(toys.base, source, motion, batch)) for batch in (1, 4))
    assert len(one) == 7
    assert all(np.array_equal(a, b) for a, b in zip(one, four, strict=True))


def test_the_demo_makes_a_video_and_a_contact_sheet(toys, tmp_path):
    pytest.importorskip("espeakng_loader")
    made, sheet = demo(tmp_path / "deep" / "demo.mp4", models=toys)
    assert made.frames > 100
    assert made.seconds["drawing the frames"] > 0
    assert Pillow.open(sheet).size == (6 * 66 - 2, 4 * 66 - 2)
