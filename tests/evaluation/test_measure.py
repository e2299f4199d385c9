"""Metrics over clips: what each needs, what is counted, and that pixels are compared rightly."""

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional import mean_absolute_error

from motion_lab.errors import UsageError
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.metrics import build_metrics, measure
from registry import RegistryError


def clip(frames: int, size: int = 24, seed: int = 0) -> Clip:
    draw = torch.Generator().manual_seed(seed)
    return Clip(torch.randint(0, 256, (frames, 3, size, size), generator=draw, dtype=torch.uint8))


def test_pixels_are_compared_as_the_libraries_do():
    generated, reference = clip(40), clip(40, seed=1)
    noisy = Clip(reference.frames // 2 + generated.frames // 2)
    scores = measure(build_metrics(["psnr", "ssim", "l1"]), [(noisy, reference)])
    a, b = noisy.frames.numpy(), reference.frames.numpy()
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    psnr = [peak_signal_noise_ratio(*pair) for pair in zip(b, a, strict=True)]
    ssim = [
        structural_similarity(*pair, channel_axis=0, **settings) for pair in zip(a, b, strict=True)
    ]
    assert scores.values["psnr"] == pytest.approx(sum(psnr) / 40, rel=1e-5)
    assert scores.values["ssim"] == pytest.approx(sum(ssim) / 40, rel=1e-4)
    l1 = mean_absolute_error(noisy.frames / 255, reference.frames / 255)
    assert scores.values["l1"] == pytest.approx(l1.item(), rel=1e-5)


def test_every_frame_of_every_clip_counts_alike():
    black, grey = (
        Clip(torch.zeros(1, 3, 16, 16).byte()),
        Clip(torch.full((3, 3, 16, 16), 51).byte()),
    )
    pairs = [(black, black), (grey, Clip(torch.zeros_like(grey.frames)))]
    scores = measure(build_metrics(["l1"]), pairs)
    assert scores.values["l1"] == pytest.approx(0.2 * 3 / 4)
    assert scores.counts == {"l1": {"frames": 4}}


def test_tgd_compares_how_much_each_pixel_changes():
    def grey(*levels: int) -> Clip:
        column = torch.tensor(levels, dtype=torch.uint8)[:, None, None, None]
        return Clip(column.expand(-1, 3, 8, 8).contiguous())

    reference = grey(100, 150, 125)
    scores = measure(build_metrics(["tgd"]), [(grey(0, 25, 25), reference)])
    assert scores.values["tgd"] == pytest.approx((25 + 25) / 2 / 255)
    assert scores.counts["tgd"] == {"pairs of frames": 2}
    # Up or down, lighter or darker all over: only how much changes counts.
    assert measure(build_metrics(["tgd"]), [(grey(70, 20, 45), reference)]).values["tgd"] < 1e-6


def test_tgd_sees_every_pair_of_consecutive_frames():
    generated, reference = clip(70), clip(70, seed=1)
    change = [c.frames.double().diff(dim=0).abs() / 255 for c in (generated, reference)]
    expected = (change[0] - change[1]).abs().mean().item()
    scores = measure(build_metrics(["tgd"]), [(generated, reference)])
    assert scores.values["tgd"] == pytest.approx(expected, rel=1e-5)


def test_one_metric_that_fails_leaves_the_others():
    still = Clip(torch.zeros(1, 3, 16, 16).byte())
    scores = measure(build_metrics(["l1", "tgd"]), [(still, still)])
    assert scores.values == {"l1": 0}
    assert "tgd could not be measured" in scores.failed["tgd"]


def test_what_a_metric_lacks_is_said():
    with pytest.raises(UsageError, match="psnr compares each generated video with its own"):
        measure(build_metrics(["psnr"]), [(clip(2), None)])
    with pytest.raises(UsageError, match="psnr could not be measured"):
        measure(build_metrics(["psnr"]), [])
    with pytest.raises(UsageError, match="'l1' is asked for twice"):
        build_metrics(["l1", {"name": "l1"}])
    with pytest.raises(RegistryError, match="Did you mean 'psnr'"):
        build_metrics(["psnrr"])
