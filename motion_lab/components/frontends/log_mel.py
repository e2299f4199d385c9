"""Log-mel spectrogram in step with 25 fps video."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SAMPLE_RATE = 16_000
FRAME = 640  # samples of one video frame: 16 kHz / 25 fps
HOP = 160  # 10 ms, four columns a video frame
WINDOW = 400  # 25 ms
FFT = 512
FLOOR_DB = -60.0  # below speech level; what is quieter is room noise


def mel_filters(mels: int, low: float, high: float) -> Tensor:
    """Triangular filters, evenly spaced in mel, as weights that sum to one: (FFT // 2 + 1, mels).

    mel(f) = 2595 log10(1 + f / 700) (O'Shaughnessy, Speech Communication, 1987; the HTK book,
    section 5.4). A filter of unit sum gives the mean power of its band, so wide and narrow bands
    of white noise read the same.
    """
    if not 0 <= low < high <= SAMPLE_RATE / 2:
        raise ValueError(
            f"the mel range must lie within 0..{SAMPLE_RATE // 2} Hz, got {low}..{high}"
        )
    bounds_mel = torch.linspace(
        2595 * math.log10(1 + low / 700), 2595 * math.log10(1 + high / 700), mels + 2
    )
    bounds = 700 * (10 ** (bounds_mel.double() / 2595) - 1)
    bins = torch.linspace(0, SAMPLE_RATE / 2, FFT // 2 + 1, dtype=torch.float64)[:, None]
    rise = (bins - bounds[:-2]) / (bounds[1:-1] - bounds[:-2])
    fall = (bounds[2:] - bins) / (bounds[2:] - bounds[1:-1])
    filters = torch.minimum(rise, fall).clamp(min=0)
    empty = (filters.sum(0) == 0).sum().item()
    if empty:
        raise ValueError(
            f"{empty} of {mels} mel bands are narrower than the spectrum's resolution of "
            f"{SAMPLE_RATE / FFT:.1f} Hz; use fewer mels or a wider range"
        )
    return (filters / filters.sum(0)).float()


class LogMelState(NamedTuple):
    """What the frontend remembers of a stream."""

    wave: Tensor  # (B, 640 k), the last samples
    power: Tensor  # (B,), of the frames heard, summed
    squared: Tensor  # (B,), its square likewise


class LogMel(nn.Module):
    """Wave (B, T) at 16 kHz in [-1, 1] → features (B, ceil(T / 640), `features`).

    A frame holds the four mel columns within its 40 ms and `margin` columns on either side,
    oldest first: `features` = (4 + 2 * margin) * mels. Beyond the track's ends lies silence.
    Levels are decibels relative to the track's speech level, from -60 dB (-1) upwards, 30 dB a
    unit. The speech level is the power-weighted mean of the frames' powers, which neither pauses
    nor silence appended to the track change: the same words at another volume give the same
    features.
    """

    def __init__(
        self, mels: int = 40, margin: int = 2, low: float = 60.0, high: float = 7600.0
    ) -> None:
        super().__init__()
        if mels < 1 or margin < 0:
            raise ValueError(f"mels must be positive and margin not negative, got {mels}, {margin}")
        self.margin = margin
        self.columns = FRAME // HOP + 2 * margin
        self.features = self.columns * mels
        self.filters: Tensor
        self.window: Tensor
        self.register_buffer("filters", mel_filters(mels, low, high), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        wave = _whole_frames(wave)
        return self._features(wave, _level(*_powers(wave)))

    def advance(
        self, wave: Tensor, keep: int, state: LogMelState | None
    ) -> tuple[Tensor, LogMelState]:
        """Go on with a stream: wave (B, T) → features (B, ceil(T / 640), `features`) and the state.

        The state is that after ``keep`` frames; the rest is heard in advance and comes again in
        the next call. The speech level is that of all that was heard so far. Beyond the end lies
        silence.
        """
        wave = _whole_frames(wave)
        heard = state or LogMelState(wave[:, :0], wave.new_zeros(()), wave.new_zeros(()))
        power, squared = _powers(wave[:, : keep * FRAME])
        power, squared = heard.power + power, heard.squared + squared
        ahead, ahead_squared = _powers(wave[:, keep * FRAME :])
        level = _level(power + ahead, squared + ahead_squared)
        known = torch.cat([heard.wave, wave], 1)
        before = heard.wave.shape[1] // FRAME
        features = self._features(known, level)[:, before:]
        # What a frame still sees of those before it: margin columns and half a spectrum.
        context = -(-(self.margin * HOP + FFT // 2) // FRAME) * FRAME
        last = known[:, : (before + keep) * FRAME][:, -context:]
        return features, LogMelState(last, power, squared)

    def _features(self, wave: Tensor, level: Tensor) -> Tensor:
        frames = wave.shape[1] // FRAME
        # Column k is centred on sample HOP / 2 + (k - margin) * HOP: four fall into every frame.
        count = FRAME // HOP * frames + 2 * self.margin
        left = FFT // 2 - HOP // 2 + self.margin * HOP
        right = HOP * (count - 1) + FFT - left - wave.shape[1]
        spectrum = torch.stft(
            F.pad(wave, (left, right)),
            FFT,
            HOP,
            WINDOW,
            self.window,
            center=False,
            return_complex=True,
        )
        # Divided by the window's energy: white noise of power p reads p in every bin.
        density = spectrum.abs().square().transpose(1, 2) / self.window.square().sum()
        # A track that stays below -60 dBFS is silence, not speech to be amplified.
        relative = density @ self.filters / level.clamp(min=1e-6)[:, None, None]
        decibel = 10 * torch.log10(relative + 10 ** (FLOOR_DB / 10))
        columns = (1 + decibel / 30).unfold(1, self.columns, FRAME // HOP)  # (B, N, mels, columns)
        return columns.transpose(2, 3).flatten(2)


def _whole_frames(wave: Tensor) -> Tensor:
    """The wave as floats, filled up with silence to a whole number of frames."""
    if wave.ndim != 2 or wave.shape[1] == 0:
        raise ValueError(f"wave must be (B, T) with T > 0, got {tuple(wave.shape)}")
    return F.pad(wave.float(), (0, -wave.shape[1] % FRAME))


def _powers(wave: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the frames of their power, and of its square: (B,) each."""
    power = wave.unflatten(1, (wave.shape[1] // FRAME, FRAME)).square().mean(2)
    return power.sum(1), power.square().sum(1)


def _level(power: Tensor, squared: Tensor) -> Tensor:
    return squared / power.clamp(min=1e-12)
