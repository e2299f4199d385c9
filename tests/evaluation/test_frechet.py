"""Fréchet distances: closed forms, torchmetrics, and what is counted on the way."""

import pytest
import torch
from torchmetrics.image.fid import _compute_fid

from motion_lab.errors import UsageError
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.metrics import measure
from motion_lab.evaluation.metrics.frechet import FrechetMetric, Moments, frechet_distance


def gaussian(dimensions: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    root = torch.randn(dimensions, dimensions, generator=draw, dtype=torch.float64)
    return torch.randn(dimensions, generator=draw, dtype=torch.float64), root


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_independent_axes_add_up_their_own_distances():
    mean, deviation = numbers(1, 2), numbers(2, 3)
    other_mean, other_deviation = numbers(0, 5), numbers(1, 4)
    found = frechet_distance(mean, deviation.diag(), other_mean, other_deviation.diag())
    assert found == pytest.approx((1 + 9) + (1 + 1))


def test_gaussians_in_general_position_are_as_far_as_torchmetrics_says():
    a, b = gaussian(12, seed=0), gaussian(12, seed=1)
    expected = _compute_fid(a[0], a[1].T @ a[1], b[0], b[1].T @ b[1]).item()
    assert frechet_distance(*a, *b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(*a, *a) == pytest.approx(0, abs=1e-9)


def test_flat_gaussians_have_a_distance_too():
    nowhere = numbers(0, 0, 0)
    found = frechet_distance(nowhere, numbers(2, 0, 0)[None], nowhere, numbers(0, 3, 0)[None])
    assert found == pytest.approx(13)


@pytest.mark.parametrize(("count", "piece"), [(50, 7), (5, 2), (4, 4)])
def test_moments_of_pieces_are_those_of_the_whole(count, piece):
    rows = 100 + torch.randn(count, 4, generator=torch.Generator().manual_seed(0)).double()
    moments = Moments()
    for some in rows.split(piece):
        moments.add(some)
    assert moments.count == count
    torch.testing.assert_close(moments.mean(), rows.mean(0))
    root = moments.root()
    torch.testing.assert_close(root.T @ root, rows.T.cov(), rtol=1e-8, atol=1e-8)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of the rows of two samples, by torchmetrics."""
    return _compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov()).item()


class Brightness(FrechetMetric):
    """Frames as the mean of each colour; clips of one frame are too short."""

    scores = {"brightness": "lower"}  # noqa: RUF012
    unit = "frames"

    def __init__(self):
        super().__init__("cpu")

    def protocol(self):
        return {}

    def embed(self, clip):
        return clip.frames.float().mean((2, 3)) if len(clip.frames) > 1 else torch.zeros(0, 3)


def clip(frames: int, seed: int) -> Clip:
    draw = torch.Generator().manual_seed(seed)
    return Clip(torch.randint(0, 256, (frames, 3, 4, 4), generator=draw, dtype=torch.uint8))


def test_sets_may_be_of_different_size_and_need_no_pairs():
    generated, real = [clip(5, 0), clip(9, 1)], [clip(20, 2)]
    clips = [*((c, None) for c in [*generated, clip(1, 3)]), *((None, c) for c in real)]
    scores = measure({"brightness": Brightness()}, clips)
    a, b = (torch.cat([c.frames for c in s]).double().mean((2, 3)) for s in (generated, real))
    assert scores.values["brightness"] == pytest.approx(distance(a, b), rel=1e-6)
    assert scores.counts["brightness"] == {
        "frames": 14,
        "reference frames": 20,
        "dropped clips": 1,
    }


def test_one_embedding_has_no_spread():
    with pytest.raises(UsageError, match="two frames or more on each side, and there are 0 gen"):
        measure({"brightness": Brightness()}, [(clip(1, 0), clip(5, 1))])
