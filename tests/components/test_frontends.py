"""What a frame's features say about the sound in it."""

import math

import pytest
import torch

from motion_lab.components.frontends.log_mel import FRAME, LogMel, mel_filters


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 16_000, 48_123])
def test_gives_one_row_a_video_frame(samples: int) -> None:
    frontend = LogMel(mels=20, margin=1)
    features = frontend(noise(samples))
    assert features.shape == (1, math.ceil(samples / FRAME), frontend.features)
    assert features.isfinite().all()


@pytest.mark.parametrize("frequency", [150.0, 440.0, 1000.0, 3000.0, 6000.0])
def test_a_tone_peaks_in_the_band_whose_centre_is_nearest_in_mel(frequency: float) -> None:
    frontend = LogMel(mels=32, margin=0, low=0.0, high=8000.0)
    time = torch.arange(16_000) / 16_000
    features = frontend(0.5 * torch.sin(2 * math.pi * frequency * time)[None])
    loudest = features[0, 10].unflatten(0, (4, 32)).mean(0).argmax().item()

    def mel(f: float) -> float:
        return 1127.01 * math.log(1 + f / 700)  # the same scale, as written with ln

    spacing = mel(8000) / 33
    assert abs(mel(frequency) / spacing - 1 - loudest) <= 0.75


@pytest.mark.parametrize("sample", [640 * 7 + 5, 640 * 7 + 320, 640 * 8 - 5])
def test_a_click_is_heard_in_the_frame_that_contains_it(sample: int) -> None:
    wave = torch.zeros(1, 640 * 20)
    wave[0, sample] = 1.0
    loud = LogMel(margin=0)(wave)[0].mean(1)
    assert loud.argmax().item() == 7


def test_margin_columns_are_those_of_the_neighbouring_frames() -> None:
    wave = noise(640 * 12)
    tight, wide = LogMel(mels=16, margin=0)(wave)[0], LogMel(mels=16, margin=2)(wave)[0]
    tight, wide = tight.unflatten(1, (4, 16)), wide.unflatten(1, (8, 16))
    torch.testing.assert_close(wide[:, 2:6], tight)
    torch.testing.assert_close(wide[1:, :2], tight[:-1, 2:])
    torch.testing.assert_close(wide[:-1, 6:], tight[1:, :2])


def test_volume_and_appended_silence_do_not_change_speech() -> None:
    frontend, wave = LogMel(), noise(640 * 30)
    wave[:, : 640 * 10] = 0
    features = frontend(wave)
    torch.testing.assert_close(frontend(0.05 * wave), features, atol=1e-4, rtol=0)
    longer = frontend(torch.cat([wave, torch.zeros(1, 640 * 50)], 1))
    torch.testing.assert_close(longer[:, :29], features[:, :29], atol=1e-4, rtol=0)


def test_silence_and_noise_read_as_documented() -> None:
    frontend = LogMel(mels=16)
    assert (frontend(torch.zeros(1, 6400)) == -1).all()
    assert (frontend(1e-6 * noise(6400)) < -0.95).all()
    # White noise at speech level: every band near 0 dB, which reads 1 (the mean of a logarithm of
    # a chi-squared power lies up to 2.5 dB lower).
    bands = frontend(noise(640 * 200))[0, 5:-5].unflatten(1, (8, 16)).mean((0, 1))
    assert ((bands > 0.88) & (bands < 1.02)).all()


def test_a_shifted_wave_gives_shifted_frames() -> None:
    frontend, wave = LogMel(), noise(640 * 20)
    shifted = frontend(torch.cat([torch.zeros(1, 640 * 3), wave], 1))
    torch.testing.assert_close(shifted[:, 4:], frontend(wave)[:, 1:], atol=1e-4, rtol=0)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="narrower than the spectrum"):
        mel_filters(200, 0, 8000)
    with pytest.raises(ValueError, match=r"0\.\.8000"):
        mel_filters(40, 60, 9000)
    with pytest.raises(ValueError, match="wave must be"):
        LogMel()(torch.zeros(1, 0))
