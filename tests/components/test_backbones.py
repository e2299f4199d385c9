"""What the denoiser listens to, and how it counts frames."""

import pytest
import torch

from motion_lab.components.backbones.transformer import TransformerDenoiser, rotary_turns, rotate

SIZES = {"motion_size": 6, "context": 10, "source_size": 5, "width": 16, "layers": 2, "heads": 2}


def inputs(batch: int = 2, window: int = 8) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "noisy": torch.randn(batch, window, 6),
        "t": torch.tensor([10, 900])[:batch],
        "audio": torch.randn(batch, window, 10),
        "source": torch.randn(batch, 5),
        "past": torch.randn(batch, 4, 6),
    }


@pytest.fixture
def denoiser() -> TransformerDenoiser:
    torch.manual_seed(0)
    return TransformerDenoiser(**SIZES).eval()


@pytest.mark.parametrize("window", [1, 8, 13])
def test_predicts_every_frame_of_a_window_of_any_length(
    denoiser: TransformerDenoiser, window: int
) -> None:
    assert denoiser(**inputs(window=window)).shape == (2, window, 6)


@pytest.mark.parametrize("name", ["noisy", "t", "audio", "source", "past"])
def test_every_condition_is_heard(denoiser: TransformerDenoiser, name: str) -> None:
    given = inputs()
    before = denoiser(**given)
    given[name] = given[name] + 1
    assert (denoiser(**given) - before).abs().amax((1, 2)).min() > 1e-5


def test_audio_of_a_frame_changes_that_frame_most(denoiser: TransformerDenoiser) -> None:
    given = inputs()
    before = denoiser(**given)
    given["audio"] = given["audio"].clone()
    given["audio"][:, 3] += 2
    assert (denoiser(**given) - before).norm(dim=2).mean(0).argmax() == 3


def test_items_of_a_batch_do_not_mix(denoiser: TransformerDenoiser) -> None:
    given = inputs()
    alone = denoiser(**{name: value[1:] for name, value in given.items()})
    torch.testing.assert_close(denoiser(**given)[1:], alone)


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


def test_frames_keep_their_positions_when_the_window_is_shorter(
    denoiser: TransformerDenoiser,
) -> None:
    torch.testing.assert_close(rotary_turns(4, 50, 8)[:12], rotary_turns(4, 8, 8))


def test_a_width_that_does_not_pair_is_refused() -> None:
    with pytest.raises(ValueError, match=r"multiple of 2 \* heads"):
        TransformerDenoiser(width=36, heads=4)
