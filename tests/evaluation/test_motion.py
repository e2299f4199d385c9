"""What a motion model's speech is worth, measured on makers of motion whose worth is known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from motion_lab import cli
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.renderer import LANDMARK_NAMES, Frames, render
from motion_lab.data.synthetic.sentences import OTHER_LANGUAGES
from motion_lab.data.synthetic.speech import SILENCE
from motion_lab.evaluation import motion as module
from motion_lab.evaluation.lab.landmarks import Landmarks
from motion_lab.evaluation.lab.weights import weights_file
from motion_lab.evaluation.metrics import build_metrics
from motion_lab.evaluation.motion import evaluate_motion
from motion_lab.evaluation.results import Result
from motion_lab.evaluation.speakers import EvalSpeakers
from motion_lab.evaluation.tracks import (
    agreement,
    correlation_by_lag,
    fast_energy,
    pearson,
)
from motion_lab.models.weights import BASE_FILE, fingerprint

SIZE = 8  # 3 · 8 · 8 numbers: room for 64 coordinates of two bytes


def photograph(identity, motion, size=SIZE, **_):
    """Pictures that say in their pixels where the landmarks are."""
    points = render(identity, motion, channels=("landmarks",)).landmarks
    numbers = np.round((points.reshape(len(points), -1) + 1) / 3 * 65535).astype(np.int64)
    pixels = np.zeros((len(points), 3 * size * size), np.uint8)
    pixels[:, : numbers.shape[1]] = numbers >> 8
    pixels[:, 96 : 96 + numbers.shape[1]] = numbers & 255
    empty = np.empty(0)
    return Frames(pixels.reshape(-1, 3, size, size).transpose(0, 2, 3, 1), empty, empty, empty)


def locate(frames):
    """Reads what `photograph` wrote."""
    numbers = frames.flatten(1).long()
    count = 2 * len(LANDMARK_NAMES)
    values = numbers[:, :count] * 256 + numbers[:, 96 : 96 + count]
    points = (values / 65535 * 3 - 1).unflatten(1, (-1, 2))
    return Landmarks(points, 0 * points[..., 0])


class Base(nn.Module):
    """A base model whose motion feature is the renderer's own, of whoever is being filmed."""

    image_size, motion_size = SIZE, len(MOTION)

    def __init__(self):
        super().__init__()
        self.anywhere = nn.Parameter(torch.zeros(()))

    def encode_source(self, image):
        return SimpleNamespace(motion=torch.zeros(1, len(MOTION)), expand=lambda frames: None)

    def decode(self, source, deviation):
        pictures = photograph(self.speaker.identity, deviation.numpy()).image
        return SimpleNamespace(image=torch.from_numpy(pictures).movedim(-1, 1).float() / 255)

    def film(self, speakers):
        for self.speaker in speakers:
            yield self.speaker


class Mover:
    """A motion model that knows the truth, and does `what` to each sample of it."""

    def __init__(self, base, what=lambda motion, rng: motion):
        self.base, self.what = base, what

    def generate(self, wave, source_motion, *, generator, **_):
        assert wave.shape[1] == 640 * len(self.base.speaker.motion)
        rng = np.random.default_rng(generator.initial_seed())
        truth = self.base.speaker.motion
        made = [self.what(truth.copy(), rng) for _ in range(len(wave))]
        return torch.from_numpy(np.stack(made)).float()


SPEAKERS = list(EvalSpeakers(sentences=6, seconds=4, seed=0))


@pytest.fixture
def score(monkeypatch):
    monkeypatch.setattr(module, "render_head", photograph)

    def run(what=lambda motion, rng: motion, **settings):
        base = Base()
        return evaluate_motion(base, Mover(base, what), base.film(SPEAKERS), locate, **settings)

    return run


def test_the_truth_itself_scores_as_well_as_can_be(score):
    scores = score()
    assert scores["jaw_r"] == pytest.approx(scores["jaw_r_true"], abs=1e-6)
    assert scores["jaw_r"] > 0.9
    assert set(scores["jaw_r_by_language"]) == {"en", *OTHER_LANGUAGES}
    assert scores["jaw_lag_frames"] == 0
    assert abs(scores["jaw_r_shuffled"]) < 0.15
    assert scores["silence"] == pytest.approx(scores["silence_true"])
    assert abs(scores["silence"]) < 0.15
    assert scores["lips_agree"] == pytest.approx(1)
    assert scores["div"] == pytest.approx(0, abs=1e-6)
    for name in ("jitter", "jitter_head", "jitter_mouth", "face_found"):
        assert scores[name] == pytest.approx(1)


@pytest.mark.parametrize("frames", [-2, 3])
def test_lips_that_come_late_or_early_are_told_by_how_much(score, frames):
    scores = score(lambda motion, rng: np.roll(motion, frames, axis=0))
    assert scores["jaw_lag_frames"] == frames
    assert scores["jaw_r"] < 0.8 * scores["jaw_r_true"]


def test_lips_that_heed_nothing_follow_nothing(score):
    def babble(motion, rng):
        mouth = [MOTION.index(name) for name in ("lip_width", "lip_press", "smile")]
        motion[:, mouth] = 0
        motion[:, MOTION.index("jaw")] = np.clip(rng.normal(0.3, 0.3, len(motion)), 0, 1)
        return motion

    scores = score(babble)
    assert abs(scores["jaw_r"]) < 0.15
    assert scores["lips_agree"] < 0.3
    assert scores["silence"] > 0.5
    assert scores["jitter_mouth"] > 2
    assert scores["jitter_head"] == pytest.approx(1, abs=0.2)


def test_heads_that_differ_between_samples_are_diverse_and_trembling_ones_jitter(score):
    def turned(motion, rng):
        motion[:, MOTION.index("yaw")] += rng.normal(0, 0.2)
        return motion

    def trembling(motion, rng):
        motion[:, MOTION.index("pitch")] += rng.normal(0, 0.02, len(motion))
        return motion

    diverse = score(turned, samples=3)
    assert diverse["div"] > 0.05
    assert diverse["lips_agree"] > 0.95
    assert diverse["jitter_head"] == pytest.approx(1, abs=0.15)
    assert score(trembling)["jitter"] > 5


def test_registered_metrics_see_the_first_sample_beside_the_truth(score):
    scores = score(metrics=build_metrics(["l1"]))
    assert scores["l1"] == 0
    assert scores["counts"]["l1"]["frames"] == sum(len(s.motion) for s in SPEAKERS)
    assert score(lambda motion, rng: 0 * motion, metrics=build_metrics(["l1"]))["l1"] > 0


def test_one_sample_has_no_variety(score):
    assert not {"lips_agree", "div"} & set(score(samples=1))


def test_speakers_are_held_out_and_a_function_of_seed_and_number():
    assert [speaker.language for speaker in SPEAKERS] == ["en", "de", "en", "es", "en", "de"]
    again = EvalSpeakers(sentences=40, seconds=4, seed=0).speaker(3)
    assert np.array_equal(again.motion, SPEAKERS[3].motion)
    assert np.array_equal(again.speech.wave, SPEAKERS[3].speech.wave)
    other = EvalSpeakers(sentences=6, seconds=4, seed=1).speaker(3)
    assert not np.array_equal(other.motion, again.motion)
    for speaker in SPEAKERS:
        assert speaker.motion.shape == (100, 16)
        assert speaker.speech.phonemes[0][2] == SILENCE


def test_the_lag_is_that_of_a_shifted_track():
    rng = np.random.default_rng(0)
    track = np.convolve(rng.normal(size=80), np.ones(3), "same")
    for lag in (-4, 0, 2):
        values = correlation_by_lag(track, np.roll(track, lag), slice(10, 70), 5)
        assert values.argmax() - 5 == lag
        assert values.max() == pytest.approx(1)
    assert pearson(track, np.ones(80)) == 0
    assert pearson(track, 3 - 2 * track) == pytest.approx(-1)
    assert agreement([track, 2 * track, -track]) == pytest.approx(-1 / 3)


@pytest.mark.parametrize(("hertz", "counts"), [(1.0, False), (4.0, False), (9.0, True)])
def test_only_what_is_fast_is_jitter(hertz, counts):
    track = np.sin(2 * np.pi * hertz * np.arange(100) / 25)[:, None] + 0.1 * np.arange(100)[:, None]
    assert (fast_energy(track) > 0.1) == counts
    assert fast_energy(3 * track) == pytest.approx(9 * fast_energy(track))
    assert fast_energy(np.tile(track, 2)) == pytest.approx(2 * fast_energy(track))


def test_the_command_scores_a_checkpoint_and_says_how(untrained, tmp_path, capsys):
    command = f"evaluate motion --checkpoint {untrained} --sentences 2 --seconds 2 --samples 1"
    settings = [
        "--metrics",
        "l1,psnr,akd[lab]",
        "--steps",
        "2",
        "--json",
        str(tmp_path / "scores.json"),
    ]
    with pytest.raises(SystemExit) as stop:
        cli.main([*command.split(), *settings, "--synthetic"])
    assert stop.value.code == 0
    table = capsys.readouterr().out
    assert "jaw_r_shuffled" in table
    assert "akd[lab]" in table
    result = Result.read(tmp_path / "scores.json")
    assert result.evaluation == "motion"
    assert result.protocol["metrics"]["psnr"]["at most"] == 60
    assert result.protocol["landmarks"]["sha256"] == fingerprint(weights_file("landmarks"))
    assert result.made["base_sha256"] == fingerprint(untrained / BASE_FILE)
    assert (result.made["steps"], result.made["counts"]["l1"]["frames"]) == (2, 100)
    assert result.better["jaw_r"] == result.better["psnr"] == "higher"
    with pytest.raises(SystemExit) as stop:
        cli.main(command.split())
    assert stop.value.code == 2
    assert "add --synthetic" in capsys.readouterr().err
