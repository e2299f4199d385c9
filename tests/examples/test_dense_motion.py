"""The example of dense motion, small: both ways come to one result, and it runs."""

import runpy
from pathlib import Path

import pytest
import torch

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "dense_motion.py"))


@pytest.mark.parametrize("pattern", EXAMPLE["PATTERNS"])
def test_both_ways_come_to_the_same_candidates_features_and_gradients(pattern):
    results = []
    for way in ("with_torch", "with_warp"):
        leaves = [x.clone().requires_grad_() for x in EXAMPLE["inputs"](pattern, shrink=4)]
        outputs = EXAMPLE[way](*leaves)
        into = [torch.linspace(-1, 1, x.numel()).view(x.shape) for x in outputs]
        results.append((*outputs, *torch.autograd.grad(outputs, leaves, into)))
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


def test_a_step_is_timed_and_its_memory_is_measured():
    given = EXAMPLE["inputs"]("FOMM", shrink=4)
    step = lambda: EXAMPLE["with_warp"](*given)  # noqa: E731
    assert 0 < EXAMPLE["best_times"]([step], "cpu", rounds=1)[0] < 1e4
    assert EXAMPLE["workspace"](step, "cpu") < 100
