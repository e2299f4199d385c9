"""Metrics give known values on pictures whose values are known."""

import math

import pytest
import torch
from skimage.metrics import structural_similarity

from motion_lab.evaluation.affine import fit_affine
from motion_lab.evaluation.metrics import grow, identified, probe_r2, psnr, sharpness, ssim
from motion_lab.ops import warp


def picture(size: int = 64) -> torch.Tensor:
    """A smooth picture with structure everywhere."""
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    planes = [torch.sin(9 * x + 3 * y), torch.cos(7 * y - 4 * x * x), torch.sin(11 * x * y + 1)]
    return 0.5 + 0.4 * torch.stack(planes)[None]


def test_psnr_is_minus_ten_times_the_logarithm_of_the_error():
    target = torch.full((2, 3, 8, 8), 0.5)
    image = target + torch.tensor([0.1, 0.01]).reshape(2, 1, 1, 1)
    torch.testing.assert_close(psnr(image, target), torch.tensor([20.0, 40.0]))
    assert psnr(target, target).tolist() == [60.0, 60.0]


def test_psnr_of_a_region_sees_only_the_region():
    target = torch.zeros(2, 3, 4, 4)
    image = target.clone()
    image[:, :, 0, 0] = 0.1
    where = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    where[0, :, 0, :2] = True
    first, second = psnr(image, target, where).tolist()
    assert first == pytest.approx(-10 * math.log10(0.01 / 2), abs=1e-4)
    assert math.isnan(second)


def test_sharpness_is_the_share_of_the_gradients_kept():
    target, everywhere = picture(), torch.ones(1, 1, 64, 64, dtype=torch.bool)
    grey = target.mean()
    assert sharpness(target, target, everywhere).item() == pytest.approx(1)
    assert sharpness(grey + 0.5 * (target - grey), target, everywhere).item() == pytest.approx(0.5)
    edge = target.clone()
    edge[..., :8] = 0
    inside = everywhere.clone()
    inside[..., :9] = False
    assert sharpness(edge, target, inside).item() == pytest.approx(1)


def test_grow_widens_by_pixels():
    region = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    region[..., 4, 4] = True
    assert grow(region, 2).sum() == 25


def test_a_probe_reads_what_is_linear_and_nothing_else():
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(400, 20, generator=draw)
    noise = torch.randn(400, generator=draw)
    values = torch.stack([features @ torch.randn(20, generator=draw) + 5, noise], dim=1)
    linear, unrelated = probe_r2(features, values, torch.arange(400) < 200).tolist()
    assert linear > 0.999
    assert unrelated < 0.1


def test_a_probe_is_not_misled_by_more_features_than_rows():
    draw = torch.Generator().manual_seed(0)
    value = torch.randn(120, 1, generator=draw)
    features = torch.cat([value, 0.3 * torch.randn(120, 100, generator=draw)], dim=1)
    assert probe_r2(features, value, torch.arange(120) < 60).item() > 0.3


@pytest.mark.parametrize("turn", [0.0, 0.35])
def test_a_fitted_affine_finds_the_map_that_made_the_target(turn):
    source = torch.nn.functional.interpolate(picture(16), (128, 128), mode="bicubic").clamp(0, 1)
    c, s = 1.1 * math.cos(turn), 1.1 * math.sin(turn)
    matrix = torch.tensor([[[c, -s, 0.1], [s, c, -0.05]]])
    eye = torch.eye(2, 3)[None]
    grids = [torch.nn.functional.affine_grid(m, [1, 3, 128, 128], False) for m in (matrix, eye)]
    target = warp(source, grids[0] - grids[1])
    assert psnr(source, target).item() < 25
    assert psnr(fit_affine(source, target), target).item() > 38


def test_ssim_is_that_of_scikit_image():
    torch.manual_seed(0)
    target = picture(40).expand(2, -1, -1, -1)[..., :33].double()
    image = (target + 0.1 * torch.randn_like(target)).clamp(0, 1)
    right = [
        structural_similarity(
            a.numpy(),
            b.numpy(),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(image, target, strict=True)
    ]
    torch.testing.assert_close(ssim(image, target), torch.tensor(right).double())
    torch.testing.assert_close(ssim(target, target), torch.ones(2).double())


def test_a_person_is_told_by_features_that_hold_who_it_is_alone():
    torch.manual_seed(0)
    people = torch.arange(20).repeat_interleave(8)
    motion = torch.randn(160, 12)
    # Small beside the motion, in directions where there is none of it.
    who = 0.1 * torch.randn(20, 12)[people] * (torch.arange(12) >= 6)
    assert identified(motion * (torch.arange(12) < 6) + who, people) > 0.95
    assert identified(motion, people) < 0.2
