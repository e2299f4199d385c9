"""Portraits driven by synthetic heads: what the scores say of models whose behaviour is known."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from motion_lab.cli import app
from motion_lab.errors import UsageError
from motion_lab.evaluation.portrait import POSES, evaluate_portrait
from motion_lab.models.base_model import BaseModel
from motion_lab.models.weights import save_weights

SIZE = 64


class Still(torch.nn.Module):
    """Gives the portrait back, blurred where there is motion; its motion feature is the picture."""

    image_size = SIZE

    def __init__(self) -> None:
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def encode_motion(self, image):
        return image.flatten(1)

    def encode_source(self, image):
        source = SimpleNamespace(image=image, motion=self.encode_motion(image))
        source.expand = lambda frames: source
        return source

    def decode(self, source, deviation):
        moved = (deviation.abs().amax(1) > 0)[:, None, None, None]
        blurred = F.avg_pool2d(F.pad(source.image, (2, 2, 2, 2), mode="replicate"), 5, 1)
        return SimpleNamespace(image=torch.where(moved, blurred, source.image))


def test_rest_is_rest_and_blur_is_found():
    found = evaluate_portrait(Still(), data.astronaut(), performers=1)
    assert found.scores["psnr_rest"] == 60
    assert found.scores["sharpness_least"] < 0.6
    rest_is_sharp = (1 + (len(POSES) - 1) * found.scores["sharpness_least"]) / len(POSES)
    assert found.scores["sharpness"] == pytest.approx(rest_is_sharp, abs=0.01)
    gap = 2
    assert found.sheet.shape == (2 * SIZE + gap, len(POSES) * (SIZE + gap) - gap, 3)


def test_a_picture_without_a_face_is_refused():
    with pytest.raises(UsageError):
        evaluate_portrait(Still(), data.coffee())


def test_the_command_writes_the_sheet_and_the_scores(tmp_path):
    torch.manual_seed(0)
    config = {"image_size": 64, "working_size": 64, "motion_size": 8}
    save_weights(tmp_path / "base.safetensors", BaseModel(**config), {"model": config})
    Image.fromarray(data.astronaut()).save(tmp_path / "face.png")
    sheet, scores = tmp_path / "sheet.png", tmp_path / "scores.json"
    arguments = [str(tmp_path / "face.png"), "--checkpoint", str(tmp_path)]
    done = CliRunner().invoke(
        app, ["evaluate", "portrait", *arguments, "--sheet", str(sheet), "--json", str(scores)]
    )
    assert done.exit_code == 0, done.output
    assert Image.open(sheet).width == len(POSES) * 66 - 2
    assert "sharpness_least" in scores.read_text()
