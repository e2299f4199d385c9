"""What the denoiser listens to, and how it counts frames."""

import pytest
import torch

from motion_lab.components.backbones._denoiser import Denoiser
from motion_lab.components.backbones.mamba import MambaDenoiser
from motion_lab.components.backbones.mixer import MixerDenoiser
from motion_lab.components.backbones.transformer import TransformerDenoiser
from motion_lab.components.backbones.unet import UNetDenoiser
from motion_lab.components.sequence import rotary_turns, rotate
from motion_lab.configs.loading import load_config
from motion_lab.models.motion_model import MotionModel

SIZES = {"motion_size": 6, "context": 10, "source_size": 5, "width": 16, "window": 8}
DENOISERS = [MambaDenoiser, MixerDenoiser, TransformerDenoiser, UNetDenoiser]
ANY_LENGTH = [MambaDenoiser, TransformerDenoiser, UNetDenoiser]


def inputs(batch: int = 2, window: int = 8) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "noisy": torch.randn(batch, window, 6),
        "t": torch.tensor([10, 900])[:batch],
        "audio": torch.randn(batch, window, 10),
        "source": torch.randn(batch, 5),
        "past": torch.randn(batch, 4, 6),
    }


def build(kind: type[Denoiser]) -> Denoiser:
    torch.manual_seed(0)
    return kind(**SIZES).eval()


@pytest.mark.parametrize("window", [1, 8, 13])
@pytest.mark.parametrize("kind", ANY_LENGTH)
def test_predicts_every_frame_of_a_window_of_any_length(kind: type[Denoiser], window: int) -> None:
    assert build(kind)(**inputs(window=window)).shape == (2, window, 6)


def test_the_mixer_says_which_windows_it_was_built_for() -> None:
    with pytest.raises(ValueError, match="a window of 8, got 4 and 13"):
        build(MixerDenoiser)(**inputs(window=13))


@pytest.mark.parametrize("name", ["noisy", "t", "audio", "source", "past"])
@pytest.mark.parametrize("kind", DENOISERS)
def test_every_condition_is_heard(kind: type[Denoiser], name: str) -> None:
    denoiser, given = build(kind), inputs()
    before = denoiser(**given)
    given[name] = given[name] + 1
    assert (denoiser(**given) - before).abs().amax((1, 2)).min() > 1e-5


@pytest.mark.parametrize("kind", DENOISERS)
def test_audio_of_a_frame_changes_that_frame_most(kind: type[Denoiser]) -> None:
    denoiser, given = build(kind), inputs()
    before = denoiser(**given)
    given["audio"] = given["audio"].clone()
    given["audio"][:, 3] += 2
    assert (denoiser(**given) - before).norm(dim=2).mean(0).argmax() == 3


@pytest.mark.parametrize("kind", DENOISERS)
def test_every_frame_learns_of_the_past_and_of_the_whole_window(kind: type[Denoiser]) -> None:
    denoiser, given = build(kind), inputs()
    for name in ("noisy", "past"):
        given[name].requires_grad_()
    for frame in (0, 7):
        motion = denoiser(**given)[0, frame].square().sum()
        noisy, past = torch.autograd.grad(motion, (given["noisy"], given["past"]))
        assert (noisy[0].abs().sum(1) > 0).all()
        assert (past[0].abs().sum(1) > 0).all()


@pytest.mark.parametrize("preset", ["tiny", "small"])
@pytest.mark.parametrize("name", ["mamba", "mixer", "unet"])
def test_an_ablation_compares_backbones_of_one_size(preset: str, name: str) -> None:
    model = load_config("motion", preset).model
    width, layers = model["backbone"]["width"], model["backbone"]["layers"]
    own = {"levels": layers // 2} if name == "unet" else {"layers": layers}

    def parameters(backbone: object) -> int:
        built = MotionModel(**{**model, "backbone": backbone}).backbone
        return sum(parameter.numel() for parameter in built.parameters())

    alternative = parameters({"name": name, "width": width, **own})
    assert alternative == pytest.approx(parameters(model["backbone"]), rel=0.1)


def test_rotary_attention_depends_on_distance_alone() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    turns = rotary_turns(4, 20, 8).double()
    rotated_q = rotate(q.expand(1, 1, 24, 8), turns)[0, 0]
    rotated_k = rotate(k.expand(1, 1, 24, 8), turns)[0, 0]
    scores = rotated_q @ rotated_k.T
    for distance in (-5, 0, 7):
        band = scores.diagonal(distance)
        torch.testing.assert_close(band, band[0].expand_as(band), atol=1e-5, rtol=0)
    torch.testing.assert_close(scores[0, 0], q @ k, atol=1e-5, rtol=0)
    assert scores.diagonal(1)[0] != pytest.approx(scores.diagonal(-1)[0].item())


def test_frames_keep_their_positions_when_the_window_is_shorter() -> None:
    torch.testing.assert_close(rotary_turns(4, 50, 8)[:12], rotary_turns(4, 8, 8))


def test_a_width_that_does_not_pair_is_refused() -> None:
    with pytest.raises(ValueError, match=r"multiple of 2 \* heads"):
        TransformerDenoiser(width=36, heads=4)
