"""Frontends from transformers: in step with the video, as transformers has them, never trained."""

import json
import shutil

import pytest
import torch

from motion_lab.components.frontends.hubert import Hubert
from motion_lab.components.frontends.wav2vec2 import Wav2Vec2
from motion_lab.errors import MotionLabError, UsageError
from motion_lab.models.motion_model import MotionModel

KINDS = [Wav2Vec2, Hubert]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


@pytest.fixture
def folder(kind, speech_models):
    return speech_models[kind.__name__.lower()]


def test_features_are_those_of_transformers_two_steps_a_frame(kind, folder):
    import transformers

    wave = 0.1 * torch.randn(2, 640 * 9 + 13, generator=torch.Generator().manual_seed(0))
    features = kind(str(folder))(wave)
    assert features.shape == (2, 10, 16)

    own = transformers.AutoModel.from_pretrained(folder).eval()
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    for row, expected in zip(wave.numpy(), features, strict=True):
        padded = extractor(row, sampling_rate=16_000, return_tensors="pt").input_values
        padded = torch.nn.functional.pad(padded, (40, 640 - 13 + 40))
        with torch.no_grad():
            states = own(padded).last_hidden_state[0]
        torch.testing.assert_close(expected, states.unflatten(0, (10, 2)).mean(1))


def test_layers_are_counted_from_their_input_on(kind, folder):
    wave = 0.1 * torch.randn(1, 6400)
    embedded, first, last = (kind(str(folder), layer=layer)(wave) for layer in (0, 1, 2))
    assert not torch.allclose(embedded, first)
    torch.testing.assert_close(kind(str(folder))(wave), last)
    with pytest.raises(UsageError, match=r"0\.\.2"):
        kind(str(folder), layer=3)


def test_the_model_is_neither_trained_nor_saved_but_moves_along(kind, folder):
    frontend = kind(str(folder)).train()
    assert list(frontend.parameters()) == []
    assert frontend.state_dict() == {}
    own = frontend._model[0]
    assert not own.training
    frontend.to(torch.float64)
    assert next(own.parameters()).dtype == torch.float64


def test_a_motion_model_listens_with_it(kind, folder):
    model = MotionModel(
        motion_size=4,
        frontend={"name": kind.__name__.lower(), "folder": str(folder)},
        extractors=[{"name": "mamba_l", "width": 8}],
        backbone={"name": "transformer", "width": 16, "layers": 1},
        window=8,
        steps=1,
    )
    assert model.eval().generate(torch.randn(1, 6400), torch.zeros(1, 4)).shape == (1, 10, 4)


def test_folders_without_such_a_model_are_refused(kind, folder, speech_models, tmp_path):
    with pytest.raises(UsageError, match=r"no config\.json.*nothing is downloaded"):
        kind(str(tmp_path))
    other = speech_models["hubert" if kind is Wav2Vec2 else "wav2vec2"]
    with pytest.raises(UsageError, match=f"where a {kind.model_class} belongs"):
        kind(str(other))
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(MotionLabError, match="lacks weights"):
        kind(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(MotionLabError, match="cannot be read"):
        kind(str(tmp_path))
