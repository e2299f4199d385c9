"""From sound to motion: windows, guidance, sampling and what training sees."""

import math

import pytest
import torch
from torch import Tensor, nn

from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.errors import MotionLabError
from motion_lab.models.motion_model import MotionModel

HEAD = ("yaw", "pitch", "roll", "shift_x", "shift_y", "zoom")
SMALL = {
    "motion_size": 6,
    "frontend": {"name": "log_mel", "mels": 12, "margin": 0},
    "extractors": [
        {"name": "mamba_g", "width": 16, "layers": 1, "state": 4},
        {"name": "mamba_l", "width": 8, "window": 2, "state": 4},
    ],
    "backbone": {"name": "transformer", "width": 16, "layers": 1, "heads": 2},
    "window": 8,
    "steps": 3,
}


def model(**changes: object) -> MotionModel:
    torch.manual_seed(0)
    return MotionModel(**(SMALL | changes)).eval()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sound(batch: int, samples: int) -> Tensor:
    return 0.1 * torch.randn(batch, samples, generator=seeded(9))


class Denoiser(nn.Module):
    """A backbone that answers by a function and remembers how it was asked."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer
        self.calls: list[dict[str, Tensor]] = []

    def forward(self, noisy, t, audio, source, past):
        call = {"noisy": noisy, "t": t, "audio": audio, "source": source, "past": past}
        self.calls.append(call)
        return self.answer(**call)


@pytest.mark.parametrize("samples", [1, 640, 641, 640 * 8, 640 * 17 + 1])
def test_gives_25_deviations_a_second_for_any_length(samples: int) -> None:
    motion = model().generate(sound(2, samples), torch.zeros(2, 6), generator=seeded())
    assert motion.shape == (2, math.ceil(samples / 640), 6)
    assert motion.isfinite().all()


def test_the_seed_decides() -> None:
    lab, wave, source = model(), sound(1, 640 * 10), torch.zeros(1, 6)
    first = lab.generate(wave, source, generator=seeded(1))
    assert torch.equal(first, lab.generate(wave, source, generator=seeded(1)))
    assert not torch.allclose(first, lab.generate(wave, source, generator=seeded(2)))
    assert torch.equal(lab.generate(wave, source, mean=True), lab.generate(wave, source, mean=True))


def test_each_window_starts_from_the_last_frames_of_the_one_before() -> None:
    lab = model(steps=2, guidance=1.0)
    lab.fit_normalisation(torch.randn(100, 6) + 1, torch.randn(10, 6))
    lab.backbone = Denoiser(lambda noisy, **_: 0.1 * noisy)
    motion = lab.generate(sound(1, 640 * 24), torch.zeros(1, 6), generator=seeded())
    past = [call["past"] for call in lab.backbone.calls]
    assert len(past) == 6
    torch.testing.assert_close(lab.restore(past[0]), torch.zeros(1, 4, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(lab.restore(past[2]), motion[:, 4:8])
    torch.testing.assert_close(lab.restore(past[5]), motion[:, 12:16])


def test_audio_is_listened_to_once_and_both_branches_share_a_batch() -> None:
    lab = model(steps=4)
    heard = []
    lab.frontend.register_forward_hook(lambda *_: heard.append(1))
    lab.backbone = Denoiser(lambda noisy, **_: noisy)
    reported = []
    lab.generate(
        sound(3, 640 * 20), torch.zeros(3, 6), progress=lambda *args: reported.append(args)
    )
    assert len(heard) == 1
    assert {len(call["noisy"]) for call in lab.backbone.calls} == {6}
    assert reported == [(step, 12) for step in range(1, 13)]
    lab.backbone.calls.clear()
    lab.generate(sound(3, 640 * 8), torch.zeros(3, 6), guidance=1)
    assert {len(call["noisy"]) for call in lab.backbone.calls} == {3}


@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver++"])
def test_guidance_weighs_what_the_audio_adds(sampler: str) -> None:
    lab = model(sampler=sampler)
    lab.backbone = Denoiser(lambda audio, **_: audio[..., :6])
    wave = sound(1, 640 * 8)
    motion = lab.generate(wave, torch.zeros(1, 6), steps=1, guidance=3)
    with torch.no_grad():
        heard, unheard = lab.listen(wave)[..., :6], lab.null_audio[:6]
    torch.testing.assert_close(motion, unheard + 3 * (heard - unheard), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("guidance", "past_guidance"), [(3, 1), (1, 2), (3, 0.5)])
def test_audio_and_past_have_a_scale_each(guidance: float, past_guidance: float) -> None:
    lab = model()
    torch.nn.init.normal_(lab.null_past)
    lab.backbone = Denoiser(
        lambda audio, past, **_: audio[..., :6] + past.sum((1, 2))[:, None, None]
    )
    wave = sound(1, 640 * 8)
    motion = lab.generate(
        wave, torch.zeros(1, 6), steps=1, guidance=guidance, past_guidance=past_guidance
    )
    with torch.no_grad():
        heard, unheard = lab.listen(wave)[..., :6], lab.null_audio[:6]
        rest, nothing = lab.normalise(torch.zeros(4, 6)).sum(), lab.null_past.sum()
    by_hand = unheard + nothing + past_guidance * (rest - nothing) + guidance * (heard - unheard)
    torch.testing.assert_close(motion, by_hand, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver++"])
@pytest.mark.parametrize("spread", [0.3, 1.5])
def test_sampling_draws_from_the_distribution_that_the_denoiser_knows(
    sampler: str, spread: float
) -> None:
    """For x0 ~ N(2, spread²) the best denoiser is known in closed form, and with it the sampler
    must give that mean and spread back: a wrong schedule, step or prediction type would not."""
    lab = model(sampler=sampler, guidance=1.0, window=50, motion_size=64)

    def best(noisy: Tensor, t: Tensor, **_: Tensor) -> Tensor:
        # The cosine schedule from its formula (arXiv 2102.09672, eq. 17), not from the model.
        angle = (t.double() + 1) / 1000 * (1 / 1.008) + 0.008 / 1.008
        alpha = (angle * math.pi / 2).cos()[:, None, None] ** 2
        alpha = alpha / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
        gain = alpha.sqrt() * spread**2 / (alpha * spread**2 + 1 - alpha)
        return (2 + gain * (noisy - 2 * alpha.sqrt())).float()

    lab.backbone = Denoiser(best)
    motion = lab.generate(sound(4, 640 * 50), torch.zeros(4, 64), steps=50, generator=seeded())
    assert motion.mean().item() == pytest.approx(2, abs=0.05)
    assert motion.std().item() == pytest.approx(spread, rel=0.05)


def test_normalisation_whitens_and_is_undone() -> None:
    lab = model()
    mixing = torch.randn(6, 6, generator=seeded()) * torch.tensor([5.0, 1, 1, 1, 1, 0.5])
    deviations = torch.randn(4000, 6, generator=seeded(1)) @ mixing + 3
    lab.fit_normalisation(deviations, torch.randn(50, 6))
    white = lab.normalise(deviations)
    torch.testing.assert_close(white.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
    covariance = white.T.cov()
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-3
    # Strong directions come out near one, the weakest short of it: it may be noise.
    assert covariance.diagonal().max() == pytest.approx(1, abs=0.02)
    assert covariance.diagonal().min() < 0.9
    torch.testing.assert_close(lab.restore(white), deviations, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match="do not vary"):
        lab.fit_normalisation(torch.ones(10, 6), torch.randn(5, 6))


def test_a_head_is_steadied_a_jaw_a_little_and_lids_are_not() -> None:
    """Features that are the head's parameters, one each, that shake from frame to frame."""
    lab = model(motion_size=len(MOTION))
    calm = torch.randn(2, 1, len(MOTION), generator=seeded())
    shake = torch.randn(2, 1, len(MOTION), generator=seeded(1))
    sign = torch.tensor([1.0, -1.0]).repeat(5)[:, None]
    shaking = calm + sign * shake
    assert torch.equal(lab.steady(shaking), shaking[:, 1:-1])  # nothing is known of the head
    lab.readout.copy_(torch.eye(len(MOTION)))
    lab.directions.copy_(torch.eye(len(MOTION)))
    head = torch.tensor([name in (*HEAD, "smile", "brow_raise", "brow_frown") for name in MOTION])
    steadied = lab.steady(shaking)
    torch.testing.assert_close(steadied[..., head], calm[..., head].expand(-1, 8, -1))
    jaw = torch.tensor([name in ("jaw", "lip_width") for name in MOTION])
    torch.testing.assert_close(
        steadied[..., jaw], (calm + 0.75 * sign[1:-1] * shake)[..., jaw]
    )  # 7/8 of where it is and 1/8 of where its neighbours are, as far on the other side
    other = ~(head | jaw)
    assert torch.equal(steadied[..., other], shaking[:, 1:-1, other])
    slow = torch.sin(2 * torch.pi * torch.arange(50) / 25)[None, :, None] * head  # 1 Hz
    torch.testing.assert_close(lab.steady(slow), slow[:, 1:-1], rtol=0, atol=0.016)


def test_training_shows_the_window_its_own_frames_of_audio() -> None:
    lab = model(audio_drop=0.0, past_drop=0.0, past_noise=0.0)
    lab.listen = lambda wave: torch.arange(20.0)[None, :, None].expand(len(wave), 20, 24)
    lab.backbone = Denoiser(lambda noisy, **_: torch.zeros_like(noisy))
    start, past = torch.tensor([0, 5, 12]), torch.randn(3, 4, 6)
    md = torch.randn(3, 8, 6)
    terms = lab.training_loss(md, sound(3, 640 * 20), start, torch.randn(3, 6), past)
    call = lab.backbone.calls[0]
    torch.testing.assert_close(call["audio"][..., 0], start[:, None] + torch.arange(8.0))
    torch.testing.assert_close(call["past"], past)
    assert terms["position"].item() == pytest.approx(md.square().mean().item(), rel=1e-5)
    steps = torch.cat([past[:, -1:], md], 1).diff(dim=1)
    steps[:, 0] += past[:, -1]  # a prediction of zero steps back from the past to zero
    assert terms["velocity"].item() == pytest.approx(
        torch.cat([md[:, :1], steps[:, 1:]], 1).square().mean().item(), rel=1e-5
    )


def test_acceleration_is_the_change_of_the_steps() -> None:
    lab = model(audio_drop=0.0, past_drop=0.0, past_noise=0.0)
    lab.backbone = Denoiser(lambda noisy, **_: torch.zeros_like(noisy))
    # Still in the past, then one jump by 3 that stays: changes of +3 and -3 among 8.
    md = torch.full((1, 8, 6), 3.0)
    md[:, :2] = 0
    start, rest = torch.tensor([0]), torch.zeros(1, 4, 6)
    terms = lab.training_loss(md, sound(1, 640 * 8), start, torch.zeros(1, 6), rest)
    assert terms["velocity"].item() == pytest.approx(9 / 8)
    assert terms["acceleration"].item() == pytest.approx(18 / 8)


def test_it_sees_its_own_predictions_where_the_track_reaches_back() -> None:
    lab = model(own_past=1.0, audio_drop=0.0, past_drop=0.0, past_noise=0.0)
    assert lab.history == 12
    lab.listen = lambda wave: torch.arange(20.0)[None, :, None].expand(len(wave), 20, 24)
    # Answers with the frame's number: what it predicts tells which frames it was asked for.
    lab.backbone = Denoiser(lambda audio, **_: audio[..., :6])
    start, past = torch.tensor([3, 8, 11]), torch.randn(3, 12, 6)
    lab.training_loss(torch.randn(3, 8, 6), sound(3, 640 * 20), start, torch.randn(3, 6), past)
    before, now = lab.backbone.calls
    torch.testing.assert_close(before["past"], past[:, :4])
    torch.testing.assert_close(before["audio"][1:, 0, 0], torch.tensor([0.0, 3.0]))
    torch.testing.assert_close(now["past"][0], past[0, -4:])
    own = torch.stack([torch.arange(4.0, 8), torch.arange(7.0, 11)])
    torch.testing.assert_close(now["past"][1:, :, 0], own)


def test_conditions_are_dropped_and_noised_in_the_stated_shares() -> None:
    lab = model(audio_drop=0.3, past_drop=0.4, past_noise=0.5)
    lab.backbone = Denoiser(lambda noisy, **_: noisy)
    with torch.no_grad():
        lab.null_audio.fill_(7.0)
        lab.null_past.fill_(8.0)
    count, past = 400, torch.zeros(400, 4, 6)
    lab.training_loss(
        torch.zeros(count, 8, 6),
        sound(1, 640 * 8).expand(count, -1),
        torch.zeros(count, dtype=torch.int64),
        torch.zeros(count, 6),
        past,
    )
    call = lab.backbone.calls[0]
    deaf = (call["audio"] == 7).all(2).all(1)
    assert deaf.float().mean().item() == pytest.approx(0.3, abs=0.07)
    blind = (call["past"] == 8).all(2).all(1)
    assert blind.float().mean().item() == pytest.approx(0.4, abs=0.07)
    noise = call["past"][~blind].std(dim=(1, 2))
    assert 0 < noise.min() < 0.1
    assert 0.35 < noise.max() < 0.9


def test_gradients_reach_every_parameter() -> None:
    lab = model(audio_drop=0.5, past_drop=0.5).train()
    torch.manual_seed(0)
    terms = lab.training_loss(
        torch.randn(8, 8, 6),
        sound(8, 640 * 12),
        torch.randint(5, (8,)),
        torch.randn(8, 6),
        torch.randn(8, 4, 6),
    )
    sum(terms.values()).backward()
    for name, parameter in lab.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_its_state_is_all_there_is_to_it() -> None:
    lab, twin = model(), MotionModel(**SMALL).eval()
    lab.fit_normalisation(torch.randn(100, 6), torch.randn(10, 6))
    twin.load_state_dict(lab.state_dict())
    wave, source = sound(1, 640 * 9), torch.randn(1, 6)
    first = lab.generate(wave, source, generator=seeded())
    assert torch.equal(first, twin.generate(wave, source, generator=seeded()))


@pytest.mark.parametrize("names", [["mamba_g"], ["mamba_l"]])
def test_an_extractor_can_be_left_out(names: list[str]) -> None:
    specs = [spec for spec in SMALL["extractors"] if spec["name"] in names]
    lab = model(extractors=specs)
    assert lab.generate(sound(1, 6400), torch.zeros(1, 6)).shape == (1, 10, 6)


class ShortExtractor(nn.Module):
    context = 8

    def forward(self, features):
        return features[:, 1:, :8]


def test_a_component_of_the_wrong_shape_is_named() -> None:
    made, wave = model(), sound(2, 6400)
    kept = made.extractors[1]
    made.extractors[1] = ShortExtractor()
    with pytest.raises(
        MotionLabError, match=r"extractors 'mamba_l' gave \(2, 9, 8\) for context, where \(2, 10"
    ):
        made.listen(wave)
    made.extractors[1] = kept
    made.backbone = Denoiser(lambda noisy, **_: noisy[:, :, 1:])
    with pytest.raises(MotionLabError, match=r"backbones 'transformer' gave .* components check"):
        made.generate(wave, torch.zeros(2, 6))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        model(extractors=[])
    with pytest.raises(ValueError, match="ddim, dpm_solver"):
        model(sampler="euler")
    with pytest.raises(ValueError, match="previous must be"):
        model(previous=9)
    with pytest.raises(ValueError, match=r"source_motion must be \(2, 6\)"):
        model().generate(sound(2, 640), torch.zeros(1, 6))
