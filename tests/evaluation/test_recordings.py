"""Lips against loudness, and drift, on tracks whose answer is known."""

import json

import numpy as np
import pytest

from motion_lab import cli
from motion_lab.data.audio import save_wav
from motion_lab.evaluation.motion import Face
from motion_lab.evaluation.recordings import MINUTE, Watched, follow, loudness, over_minutes

SYLLABLES = 2 * np.pi * 3 / 25  # 3 Hz


def voice(level, seed=0):
    """A hiss as loud as `level` (F,) says."""
    noise = np.random.default_rng(seed).standard_normal((len(level), 640))
    return (level[:, None] * noise).astype(np.float32).ravel()


def watched(opening, head=None, likeness=None, wave=None):
    frames = len(opening)
    head = np.zeros((frames, 2)) if head is None else head
    likeness = np.ones(frames // 25) if likeness is None else likeness
    wave = np.ones(640 * frames, np.float32) if wave is None else wave
    return Watched(wave, Face(opening, head, np.ones(frames, bool)), likeness)


def test_loudness_is_the_root_of_the_mean_square_around_a_frame():
    wave = np.zeros(640 * 20 - 7, np.float32)
    wave[640 * 10 : 640 * 11] = 0.5
    expected = np.zeros(20)
    expected[8:13] = 0.5 / np.sqrt(5)
    np.testing.assert_allclose(loudness(wave), expected, atol=1e-9)


@pytest.mark.parametrize("late", [0, 3, -2])
def test_lips_that_follow_a_voice_do_so_with_their_lag(late):
    rng = np.random.default_rng(1)
    levels = [1 + np.convolve(rng.normal(size=300), np.hanning(18) / 12, "same") for _ in range(3)]
    clips = [
        watched(np.roll(level, late), wave=voice(level, seed)) for seed, level in enumerate(levels)
    ]
    scores = follow(clips)
    assert scores["envelope_lag_frames"] == late
    assert (scores["envelope_r"] > 0.95) == (late == 0)
    assert abs(scores["envelope_r_shuffled"]) < 0.3
    assert "envelope_r_shuffled" not in follow(clips[:1])


def test_what_stays_as_it_was_does_not_drift():
    rng = np.random.default_rng(2)
    frames = 4 * MINUTE
    noise = rng.normal(size=(2, frames))
    head = np.stack([np.convolve(track, np.hanning(20), "same") for track in noise], 1)
    scores = over_minutes(
        watched(rng.normal(size=frames), head, 0.9 + 0.01 * rng.normal(size=240)), window=50
    )
    assert scores["drift"] < 0.5
    assert scores["liveliness"] == pytest.approx(1, abs=0.2)
    assert scores["likeness_first"] == pytest.approx(0.9, abs=0.01)
    assert abs(scores["likeness_drift"]) < 1
    assert scores["seam"] < 1


def test_drift_fading_forgetting_and_seams_are_seen():
    rng = np.random.default_rng(3)
    frames, window = 3 * MINUTE, 50
    opening, head = rng.normal(size=frames), rng.normal(size=(frames, 2))
    head[:, 1] += np.linspace(0, 10, frames)
    assert over_minutes(watched(opening, head), window)["drift"] > 2
    fading = opening * np.linspace(1, 0.1, frames)
    assert over_minutes(watched(fading, 0.1 * fading[:, None]), window)["liveliness"] < 0.5
    forgotten = np.linspace(0.9, 0.5, 180) + 0.01 * rng.normal(size=180)
    assert over_minutes(watched(opening, opening[:, None], forgotten), window)["likeness_drift"] > 3
    still = np.sin(SYLLABLES * np.arange(frames))
    assert over_minutes(watched(still, still[:, None]), window)["seam"] < 1
    jumping = still + np.arange(frames) // window % 2
    assert over_minutes(watched(jumping, still[:, None]), window)["seam"] > 1
    assert over_minutes(watched(jumping, still[:, None]), window + 7)["seam"] < 1
    with pytest.raises(ValueError, match="3 minutes"):
        over_minutes(watched(opening[:MINUTE]), window)


def test_the_command_says_how_lips_follow_and_what_minutes_do(untrained, tmp_path, monkeypatch):
    for module in ("report", "recordings"):
        monkeypatch.setattr(f"motion_lab.evaluation.{module}.LONG", 2)
        monkeypatch.setattr(f"motion_lab.evaluation.{module}.MINUTE", 50)
    short, long = tmp_path / "short.wav", tmp_path / "long.wav"
    level = np.abs(np.random.default_rng(4).normal(size=100))
    save_wav(short, 0.1 * voice(level[:60]))
    save_wav(long, 0.1 * voice(level))
    out = tmp_path / "scores.json"
    settings = ["--checkpoint", str(untrained), "--steps", "2", "--json", str(out)]
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", "recordings", str(short), str(long), *settings])
    assert stop.value.code == 0
    found = json.loads(out.read_text())
    assert -1 <= found["scores"]["envelope_r"] <= 1
    assert found["scores"]["likeness_drift"].keys() == {"long.wav"}
    assert found["protocol"]["recordings"].keys() == {"short.wav", "long.wav"}
