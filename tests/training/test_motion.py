"""Stage 2 learns lips from a voice, on data whose rule is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

import registry
from motion_lab.configs.loading import as_dict, load_config
from motion_lab.configs.schema import Config
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.errors import UsageError
from motion_lab.models.base_model import BaseModel
from motion_lab.models.motion_model import MotionModel
from motion_lab.models.weights import BASE_FILE, save_weights
from motion_lab.training.motion import MotionTask, fit_probe
from motion_lab.training.motion_data import Clip, MotionClips

M, FRAMES = 24, 60
DEVICE = torch.device("cpu")


def rule_clip(rng: np.random.Generator, mixing: np.ndarray) -> Clip:
    """Noise whose loudness opens the jaw; the head sways on its own and shakes MD much more."""
    knots = np.clip(rng.normal(0.3, 0.5, FRAMES // 4 + 2), 0, 1)
    opening = np.interp(np.arange(FRAMES) / 4, np.arange(len(knots)), knots)
    loudness = np.repeat(0.02 + 0.3 * opening, 640)
    wave = loudness * rng.standard_normal(len(loudness))
    phase, pace = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.1)
    sway = 3 * np.sin(phase + pace * np.arange(FRAMES))
    deviation = np.stack([opening, sway], 1) @ mixing + 0.02 * rng.standard_normal((FRAMES, M))
    parameters = np.zeros((FRAMES, len(MOTION)), np.float32)
    parameters[:, MOTION.index("jaw")], parameters[:, MOTION.index("yaw")] = opening, sway
    return Clip(
        wave.astype(np.float32),
        deviation.astype(np.float32),
        rng.standard_normal(M).astype(np.float32),
        opening.astype(np.float32),
        parameters,
    )


@pytest.fixture
def rule_data():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((2, M)) * [[0.3], [1.0]]
    clips = [rule_clip(rng, mixing) for _ in range(48)]
    made = MotionClips(clips[:40], clips[40:])

    @registry.DATASETS.register("rule")
    def rule(base: object, folder: object) -> MotionClips:
        return made

    yield made
    registry.DATASETS.remove("rule")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained base model: nothing here depends on what its features mean."""
    folder = tmp_path_factory.mktemp("checkpoint")
    config = load_config("base", "tiny")
    torch.manual_seed(0)
    save_weights(folder / BASE_FILE, BaseModel(**config.model), as_dict(config))
    return folder


@pytest.fixture
def config(rule_data: MotionClips, checkpoint: Path) -> Config:
    return load_config("motion", "tiny", ["data.dataset=rule", f"data.base={checkpoint}"])


def test_motion_knows_what_it_means_where_the_data_do(
    config: Config, rule_data: MotionClips
) -> None:
    model = MotionTask(config, DEVICE).model
    for clip in rule_data.held_out:
        read = clip.deviation @ model.readout.numpy()
        np.testing.assert_allclose(read, clip.parameters, atol=0.1)
        np.testing.assert_allclose(read @ model.directions.numpy(), clip.deviation, atol=0.3)


def test_the_mouth_learns_to_follow_the_voice(config: Config) -> None:
    torch.manual_seed(0)
    task = MotionTask(config, DEVICE)
    before = task.validate()
    task.model.train()
    assert before["probe_r"] > 0.95
    optimiser = torch.optim.AdamW(task.model.parameters(), 2e-3)
    for step in range(60):
        torch.manual_seed(step)
        loss, _ = task.loss(task.batch(step), step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    task.model.eval()
    after = task.validate()
    assert after["jaw_r"] > max(0.8, before["jaw_r"] + 0.2)
    assert after["jaw_r_mean"] > 0.8
    assert abs(after["jaw_r_shuffled"]) < 0.3


CHOICES = [
    "model.extractors=[transformer]",
    "model.extractors=[gru]",
    "model.extractors=[tcn]",
    "model.extractors=[none]",
    "model.backbone={name: mamba, width: 64, layers: 2}",
    "model.backbone={name: mixer, width: 64, layers: 2}",
    "model.backbone={name: unet, width: 64, levels: 1}",
]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_the_ablations_learns(
    rule_data: MotionClips, checkpoint: Path, choice: str
) -> None:
    quick = ["data.dataset=rule", f"data.base={checkpoint}", "training.batch_size=8"]
    torch.manual_seed(0)
    task = MotionTask(load_config("motion", "tiny", [*quick, choice]), DEVICE)
    optimiser = torch.optim.AdamW(task.model.parameters(), 2e-3)
    losses = []
    for step in range(16):
        loss, _ = task.loss(task.batch(step), step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_every_second_batch_is_of_shorter_windows(
    config: Config, checkpoint: Path, rule_data: MotionClips
) -> None:
    given = ["data.dataset=rule", f"data.base={checkpoint}", "data.shortest=6"]
    task = MotionTask(load_config("motion", "tiny", [*given, "model.own_past=0.5"]), DEVICE)
    spans = []
    for step in range(40):
        batch = task.batch(step)
        spans.append(batch["md"].shape[1])
        assert batch["past"].shape[1] == task.model.history
        assert (batch["start"] + spans[-1] <= batch["wave"].shape[1] // 640).all()
        if step % 10 == 0:
            assert task.loss(batch, step)[0].isfinite()
    whole = task.model.window
    assert min(spans) >= 6
    assert min(spans) < 12
    assert 10 <= sum(span == whole for span in spans) <= 32
    with pytest.raises(UsageError, match=r"data\.shortest"):
        MotionTask(load_config("motion", "tiny", [*given[:2], "data.shortest=99"]), DEVICE)


def test_a_batch_is_a_function_of_seed_and_step_and_cut_from_one_clip(
    config: Config, rule_data: MotionClips
) -> None:
    task, twin = MotionTask(config, DEVICE), MotionTask(config, DEVICE)
    openings = 0
    for step in (0, 7, 8):
        batch, again = task.batch(step), twin.batch(step)
        for name, value in batch.items():
            assert torch.equal(value, again[name]), name
        length = batch["wave"].shape[1] // 640
        assert 25 <= length <= FRAMES
        for row in range(16):
            source = batch["source"][row].numpy()
            clip = next(c for c in rule_data.train if np.array_equal(c.source, source))
            seen = torch.cat([batch["past"][row], batch["md"][row]]).numpy()
            padded = np.concatenate([np.zeros((4, M), np.float32), clip.deviation])
            places = [f for f in range(FRAMES - 24) if np.array_equal(padded[f : f + 29], seen)]
            assert len(places) == 1
            openings += places[0] == 0
            # The sound of the window's own frames: loud where the mouth is open.
            start = int(batch["start"][row])
            wave = batch["wave"][row].unflatten(0, (length, 640))[start : start + 25]
            loud = wave.square().mean(1).sqrt().numpy()
            opening = clip.opening[places[0] : places[0] + 25]
            if opening.std() > 0.05:
                assert np.corrcoef(loud, opening)[0, 1] > 0.9
    assert openings > 0
    assert not torch.equal(task.batch(0)["md"], task.batch(1)["md"])


def test_the_probe_finds_the_direction_of_the_jaw(rule_data: MotionClips) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((500, 4)) * [10, 1, 1, 0.1]
    probe = fit_probe(x, 0.5 * x[:, 1] - 0.2 * x[:, 0] + 3)
    np.testing.assert_allclose(probe, [-0.2, 0.5, 0, 0, 3], atol=0.02)


def test_pictures_show_tracks(config: Config) -> None:
    picture = MotionTask(config, DEVICE).pictures()["jaw"]
    assert picture.shape[0] == 3
    assert 0 <= picture.min() < 0.5 < picture.max() <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.window=80", "shorter than model.window"),
        ("model.motion_size=16", "set model.motion_size to that"),
        ("training.losses={place: 1.0}", "some of position, velocity"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(
    rule_data: MotionClips, checkpoint: Path, change: str, message: str
) -> None:
    config = load_config("motion", "tiny", ["data.dataset=rule", f"data.base={checkpoint}", change])
    with pytest.raises(UsageError, match=message):
        MotionTask(config, DEVICE)


@pytest.mark.parametrize("preset", ["tiny", "small", "full", "gesture_small", "gesture_full"])
def test_presets_are_whole(preset: str) -> None:
    config = load_config("motion", preset)
    assert config.data.dataset["name"] in registry.DATASETS
    MotionModel(**config.model)
