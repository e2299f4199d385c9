"""The losses on frames, against torch's own ops and cases computed by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from motion_lab.evaluation.metrics import ssim
from motion_lab.training import losses


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 64, 64, generator=generator), torch.rand(
        2, 3, 64, 64, generator=generator
    )


def test_equal_frames_cost_nothing(pair):
    image, _ = pair
    weight = torch.ones(2, 1, 64, 64)
    assert losses.pixels(image, image, weight) == 0
    assert losses.edges(image, image, weight) == 0
    assert losses.structure(image, image).abs() < 1e-6
    assert losses.perceptual(_Maps(), image, image) == 0


def test_a_constant_difference_is_seen_at_every_scale_and_has_no_edges():
    image, weight = torch.full((1, 3, 64, 64), 0.25), torch.full((1, 1, 64, 64), 2.0)
    target = image + 0.5
    assert float(losses.pixels(image, target, weight)) == pytest.approx(1.0)
    assert losses.edges(image, target, weight) == 0


def test_a_checkerboard_is_seen_at_full_size_alone():
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 1.0
    image = board.expand(1, 3, 64, 64)
    grey = torch.full_like(image, 0.5)
    weight = torch.ones(1, 1, 64, 64)
    assert float(losses.pixels(image, grey, weight)) == pytest.approx(0.5 / 3)
    assert float(losses.edges(image, grey, weight)) == pytest.approx(2.0)


def test_structure_is_that_of_three_scales(pair):
    image, target = pair
    half, quarter = (
        [F.interpolate(x, scale_factor=s, mode="area") for x in pair] for s in (0.5, 0.25)
    )
    expected = 1 - (ssim(image, target) + ssim(*half) + ssim(*quarter)).mean() / 3
    torch.testing.assert_close(losses.structure(image, target), expected)


def test_structure_is_as_exact_in_mixed_precision(pair):
    """Bright and nearly flat, where variances are tiny differences of large squares."""
    image, target = (0.9 + 0.02 * each for each in pair)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = losses.structure(image, target)
    assert float(mixed) == pytest.approx(float(losses.structure(image, target)), rel=1e-6)


def test_perceptual_distance_ignores_the_strength_of_features(pair):
    image, target = pair
    once, thrice = _Maps(1.0), _Maps(3.0)
    torch.testing.assert_close(
        losses.perceptual(once, image, target), losses.perceptual(thrice, image, target)
    )
    image.requires_grad_(True)
    losses.perceptual(once, image, target).backward()
    assert image.grad.abs().sum() > 0


class _Maps(nn.Module):
    def __init__(self, gain=1.0):
        super().__init__()
        self.gain = gain

    def forward(self, image):
        return [self.gain * image, self.gain * F.avg_pool2d(image, 4)]
