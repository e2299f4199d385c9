"""Beats of motion and of sound, and how well they meet."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

SIGMA = 3.0
"""Frames, of the bell over the distance of two beats; 0.12 s."""

SMOOTHING = 5.0
"""Frames, of the bell over the speed."""

_HOP = 160  # samples, 10 ms
_APART = 10  # hops between onsets
_PROMINENCE = 1.0  # standard deviations of the flux


def motion_beats(speed: NDArray[np.floating], smoothing: float = SMOOTHING) -> NDArray[np.float64]:
    """Where motion pauses: minima of the smoothed speed (F - 1,), in frames.

    Siyao et al., "Bailando", 2022: a Gaussian of 5 frames, then every local minimum. Number i of
    the speed is that between frames i and i + 1, so a beat lies half a frame later.
    """
    return find_peaks(-gaussian_filter1d(speed.astype(np.float64), smoothing))[0] + 0.5


def sound_beats(wave: NDArray[np.floating]) -> NDArray[np.float64]:
    """Where sounds begin: onsets of a wave (T,) at 16 kHz, in frames of 25 a second.

    Peaks of the spectral flux, the rise of the logarithm of the power summed over frequency
    (Bello et al., "A tutorial on onset detection in music signals", 2005), 0.1 s apart or more and
    prominent by one standard deviation.
    """
    if len(wave) < 512:
        return np.zeros(0)
    spectrum = torch.stft(
        torch.from_numpy(wave.astype(np.float32)),
        512,
        _HOP,
        window=torch.hann_window(512),
        return_complex=True,
    )
    # A floor 60 dB below the loudest: below it lies noise, whose logarithm jumps.
    power = spectrum.abs().square()
    levels = power.clamp(min=1e-6 * float(power.max()) or 1e-12).log()
    flux = levels.diff(dim=1).clamp(min=0).sum(0).numpy()
    if not flux.std():
        return np.zeros(0)
    peaks, _ = find_peaks(flux, distance=_APART, prominence=_PROMINENCE * flux.std())
    return (peaks + 1) * _HOP / 640.0


def beat_alignment(sound: NDArray[np.floating], motion: NDArray[np.floating]) -> float:
    """Mean over beats of the sound of exp(-d² / 2σ²), with d to the nearest beat of motion.

    As in Bailando's code, with σ of 3 frames. 1 is perfect; 0 where nothing ever pauses; NaN
    without any beat of the sound.

    Args:
        sound, motion: in frames.
    """
    if not len(sound):
        return float("nan")
    if not len(motion):
        return 0.0
    nearest = np.abs(np.asarray(sound)[:, None] - np.asarray(motion)).min(1)
    return float(np.exp(-np.square(nearest) / (2 * SIGMA**2)).mean())
