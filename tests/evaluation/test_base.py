"""The evaluation of a base model: what its scores say of models whose behaviour is known."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from motion_lab.cli import app
from motion_lab.evaluation.base import PROBED, evaluate_base, yardsticks
from motion_lab.evaluation.heads import load_eval_heads
from motion_lab.evaluation.metrics import psnr
from motion_lab.evaluation.results import Result
from motion_lab.models.base_model import BaseModel
from motion_lab.models.weights import save_weights
from motion_lab.ops import warp

HEADS = replace(load_eval_heads(seed=3, identities=3, size=64), driving_frames=3)


class Oracle(torch.nn.Module):
    """Stands in for a base model; its motion feature is the head's true motion.

    With `moves` it warps the source by the true displacement and knows what the source does not
    show; else it returns the source.
    """

    def __init__(self, moves: bool) -> None:
        super().__init__()
        self.moves = moves
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.truth = [(head.images, head) for head in HEADS]

    def find(self, image):
        for images, head in self.truth:
            for frames in (images, head.double):
                for frame, candidate in enumerate(frames):
                    if torch.equal(candidate, image):
                        return head, frame
        raise AssertionError("a frame that is of no head")

    def encode_motion(self, image):
        return torch.stack([head.motion[frame] for head, frame in map(self.find, image)])

    def encode_source(self, image):
        source = SimpleNamespace(
            image=image, motion=self.encode_motion(image), depth=[self.depth(image)]
        )
        source.expand = lambda frames: source
        return source

    def depth(self, image):
        """Two layers, mixed by the true depth; nothing at all of a model that does not move."""
        depth = self.find(image[0])[0].depth
        head = depth > 0
        far = (depth - depth[head].min()) / (depth[head].max() - depth[head].min())
        far = torch.where(head, far, 1.0) if self.moves else torch.full_like(far, 0.5)
        return torch.stack([1 - far, far]).unsqueeze(0)

    def decode(self, source, deviation):
        head, _ = self.find(source.image[0])
        motion = head.motion[:1] + deviation
        frames = [(head.motion - wanted).abs().sum(1).argmin().item() for wanted in motion]
        still, seen = torch.zeros(1, 64, 64, 2), torch.ones(1, 64, 64)
        fields = torch.cat([still, head.displacement])[frames]
        hidden = 1 - torch.cat([seen, head.visible])[frames].unsqueeze(1)
        if not self.moves:
            fields, hidden = torch.zeros_like(fields), torch.zeros_like(hidden)
        warped = warp(source.image.expand(len(frames), -1, -1, -1), fields)
        image = torch.lerp(warped, head.images[frames], hidden)
        return SimpleNamespace(image=image, displacement=fields, generated=hidden)


def test_a_model_that_moves_rightly_beats_copying_and_needs_the_right_motion():
    scores = evaluate_base(Oracle(moves=True), HEADS)
    assert scores["psnr"] > scores["psnr_affine"] > scores["psnr_copy"]
    assert scores["psnr_mouth"] > scores["psnr_mouth_copy"]
    assert scores["psnr_own_motion"] == pytest.approx(scores["psnr_copy"], abs=0.01)
    assert scores["psnr_other_motion"] < scores["psnr"] - 2
    assert scores["flow_error"] < 0.01 < scores["flow_error_zero"]
    assert scores["psnr"] > scores["psnr_oracle_warp"] > scores["psnr_copy"] + 1
    assert scores["ssim"] > scores["ssim_copy"]
    assert scores["psnr_double_motion"] == pytest.approx(scores["psnr"], abs=0.01)
    assert scores["psnr_rest"] > 50
    assert scores["depth_r"] == pytest.approx(1)
    assert 0.5 < scores["sharpness"] < 1.2
    assert 0 < scores["generated_share"] == pytest.approx(scores["hidden_share"], abs=0.01)
    assert scores["fps"] > 0


def test_a_model_that_ignores_motion_is_found_out():
    scores = evaluate_base(Oracle(moves=False), HEADS)
    assert scores["psnr"] == scores["psnr_other_motion"] == pytest.approx(scores["psnr_copy"])
    assert scores["flow_error"] == scores["flow_error_zero"]
    assert scores["depth_r"] == 0


def test_yardsticks_need_no_model():
    scores = yardsticks(HEADS)
    copies = torch.cat([psnr(h.images[:1].expand_as(h.images[1:]), h.images[1:]) for h in HEADS])
    assert scores["psnr_copy"] == pytest.approx(copies.mean().item(), abs=1e-4)
    assert scores["psnr_affine"] > scores["psnr_copy"] + 0.5


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoint")
    config = {"image_size": 64, "working_size": 64, "motion_size": 8}
    save_weights(folder / "base.safetensors", BaseModel(**config), {"model": config})
    return folder


def test_the_command_prints_a_table_and_writes_every_score(checkpoint, tmp_path):
    output = tmp_path / "scores.json"
    arguments = ["--synthetic", "--identities", "2", "--json", str(output)]
    done = CliRunner().invoke(
        app, ["evaluate", "base", "--checkpoint", str(checkpoint), *arguments], terminal_width=120
    )
    assert done.exit_code == 0, done.output
    result = Result.read(output)
    scores = result.scores
    assert set(scores["probe_r2"]) == set(PROBED)
    assert result.protocol["identities"] == 2
    assert len(result.made["sha256"]) == 64
    assert result.better["psnr"] == "higher"
    assert {"psnr", "psnr_copy", "psnr_affine", "psnr_own_motion", "sharpness"} < set(scores)
    for name in set(scores) - {"probe_r2"}:
        assert name in done.stdout


def test_the_command_asks_for_the_data(checkpoint):
    done = CliRunner().invoke(app, ["evaluate", "base", "--checkpoint", str(checkpoint)])
    assert "--synthetic" in str(done.exception)
