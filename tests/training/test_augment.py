"""Augmentation: pairs stay true, drivers are disturbed, everything stays a picture."""

import numpy as np
import pytest
import torch

from motion_lab.ops import warp
from motion_lab.training.augment import disturb, texture_pairs


@pytest.fixture
def batch():
    """A grey frame and the same moved by an eighth of its width."""
    displacement = torch.zeros(4, 64, 64, 2)
    displacement[..., 0] = 0.25
    grey = torch.full((4, 3, 64, 64), 0.5)
    return {"source": grey.clone(), "target": grey.clone(), "displacement": displacement}


def test_a_texture_moves_with_the_surface(batch):
    texture_pairs(batch, np.random.default_rng(0), 1.0)
    source, target = batch["source"], batch["target"]
    assert (source.flatten(1).std(1) > 0.005).all()
    torch.testing.assert_close(target, warp(source, batch["displacement"]), rtol=0, atol=1e-5)
    # by hand: eight pixels to the left
    torch.testing.assert_close(target[..., :56], source[..., 8:], rtol=0, atol=1e-5)


def test_only_the_asked_share_gets_a_texture(batch):
    before = batch["source"].clone()
    texture_pairs(batch, np.random.default_rng(0), 0.0)
    assert torch.equal(batch["source"], before)


def test_a_disturbed_frame_is_a_picture_and_follows_from_the_generator_alone():
    image = torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    seen = disturb(image, np.random.default_rng(1))
    again = disturb(image, np.random.default_rng(1))
    other = disturb(image, np.random.default_rng(2))
    assert seen.shape == image.shape
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert torch.equal(seen, again)
    assert not torch.equal(seen, other)
    assert ((seen - image).abs().mean((1, 2, 3)) > 0.005).all()
