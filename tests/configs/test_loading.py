"""Configurations are read whole or refused with the path of the key."""

import pytest

from motion_lab.configs.loading import as_yaml, load_config, presets
from motion_lab.errors import UsageError

BASE = """
model:
  image_size: 64
  working_size: 32
  motion_size: 16
  encoder: {name: conv_volume, width: 8}
  depth: softmax
  motion_encoder: {name: patches}
  motion_decoder: {name: attention, blocks: [1, 2]}
  renderer: {name: blend}
data: {folder: here, groups: 3, held_out_groups: 1, size: 64, cross_identity: 0.5}
training: {steps: 10, batch_size: 2, losses: {pixels: 1}}
"""
MOTION = """
model:
  motion_size: 16
  frontend: log_mel
  extractors: [mamba_global, {name: mamba_local, width: 8}]
  backbone: {name: transformer}
  window: 8
  sampler: ddim
  guidance: 2
  steps: 5
data: {base: small, folder: here, dataset: {name: heads, clips: 3}}
training: {steps: 10, batch_size: 2}
"""


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return path


def test_file_and_defaults_make_a_whole_configuration(base):
    config = load_config("base", base)
    assert config.model["encoder"] == {"name": "conv_volume", "width": 8}
    assert config.model["depth"] == {"name": "softmax"}
    assert config.training.learning_rate == 3e-4
    assert config.training.losses == {"pixels": 1.0}
    assert (config.data.groups, config.data.seed) == (3, 0)


def test_motion_configuration_names_its_extractors(tmp_path):
    path = tmp_path / "motion.yaml"
    path.write_text(MOTION)
    config = load_config("motion", path, ["model.extractors.1.width=16", "model.guidance=3"])
    assert config.model["extractors"] == [
        {"name": "mamba_global"},
        {"name": "mamba_local", "width": 16},
    ]
    assert config.model["previous"] == 4
    assert config.model["guidance"] == 3.0


def test_overrides_set_keys_and_replace_specs(base):
    config = load_config(
        "base",
        base,
        [
            "training.steps=20",
            "model.encoder={name: other, depth: 2}",
            "model.renderer=plain",
            "model.motion_decoder.heads=4",
            "data.region_weights={lips: 5e-1}",
        ],
    )
    assert config.training.steps == 20
    assert config.model["encoder"] == {"name": "other", "depth": 2}
    assert config.model["renderer"] == {"name": "plain"}
    assert config.model["motion_decoder"] == {"name": "attention", "blocks": [1, 2], "heads": 4}
    assert config.data.region_weights == {"lips": 0.5}


def test_what_is_written_is_read_back_the_same(base, tmp_path):
    config = load_config("base", base, ["training.learning_rate=1e-5"])
    (tmp_path / "again.yaml").write_text(as_yaml(config))
    assert load_config("base", tmp_path / "again.yaml") == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.imagesize=3", r"model\.imagesize.*image_size"),
        ("modle.image_size=3", "modle"),
        ("training.steps=many", r"training\.steps: Value 'many'"),
        ("training.steps=0", r"training\.steps must be at least 1"),
        ("training.steps=null", r"training\.steps"),
        ("training.learning_rate=-1", r"training\.learning_rate must be above 0"),
        ("training.ema_decay=1", r"training\.ema_decay"),
        ("training.losses.pixels=big", r"training\.losses\.pixels"),
        ("data.group=3", r"data\.group"),
        ("data.cross_identity=2", r"data\.cross_identity must be in"),
        ("model.encoder=3", r"model\.encoder must be a component's name"),
        ("model.encoder={width: 3}", r"model\.encoder must be"),
        ("training.steps", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("data=[1", "data"),
    ],
)
def test_wrong_override_is_refused_with_its_path(base, override, message):
    with pytest.raises(UsageError, match=message):
        load_config("base", base, [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE.replace("image_size", "image_sizes"), r"model\.image_sizes"),
        (BASE.replace("image_size: 64", ""), r"model\.image_size is set nowhere"),
        (BASE.replace("image_size: 64", "image_size: big"), r"model\.image_size: Value 'big'"),
        ("- a\n- b", "expected sections"),
        ("model: {", "base.yaml"),
    ],
)
def test_wrong_file_is_refused_with_its_path(base, text, message):
    base.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_config("base", base)


def test_missing_files_and_presets_say_so(tmp_path):
    with pytest.raises(UsageError, match="no such configuration file"):
        load_config("base", tmp_path / "absent.yaml")
    with pytest.raises(UsageError, match="no preset 'smal'"):
        load_config("base", "smal")


@pytest.mark.parametrize("stage", ["base", "motion"])
def test_every_preset_that_ships_is_valid(stage):
    for preset in presets(stage):
        load_config(stage, preset)
