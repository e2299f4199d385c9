"""The held-out heads as evaluations walk through them."""

import torch

from motion_lab.evaluation.heads import load_eval_heads
from motion_lab.ops import warp


def test_heads_depend_on_seed_and_number_alone():
    few = load_eval_heads(seed=3, identities=2, size=32)
    many = load_eval_heads(seed=3, identities=9, size=32)
    other = load_eval_heads(seed=4, identities=2, size=32)
    for mine, same, different in zip(few, many, other, strict=False):
        assert all(torch.equal(a, b) for a, b in zip(mine, same, strict=True))
        assert not torch.equal(mine.images, different.images)


def test_the_true_displacement_brings_the_source_to_the_driving_frames():
    head = load_eval_heads(seed=0, identities=1, size=64).head(0)
    source, target = head.images[:1].expand_as(head.images[1:]), head.images[1:]
    moved = warp(source, head.displacement)
    visible = head.visible.unsqueeze(1)
    errors = [((x - target).abs() * visible).sum() / visible.sum() for x in (moved, source)]
    assert errors[0] < 0.6 * errors[1]


def test_the_size_is_that_of_the_file_unless_another_is_asked_for():
    assert load_eval_heads(seed=0, identities=1).size == 256
    assert load_eval_heads(seed=0, identities=1, size=32).head(0).images.shape == (9, 3, 32, 32)
