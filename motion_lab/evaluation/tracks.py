"""Comparing tracks: numbers over time, 25 a second."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from motion_lab.data.video import FPS

FAST_HZ = 6.0
"""What moves faster than this is jitter: syllables come at up to about 6 a second."""


def pearson(track: np.ndarray, other: np.ndarray) -> float:
    """Pearson correlation of two tracks (F,); 0 where one of them does not vary."""
    a, b = track - track.mean(), other - other.mean()
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-12))


def correlation_by_lag(
    truth: np.ndarray, measured: np.ndarray, span: slice, reach: int
) -> np.ndarray:
    """Correlation of tracks (F,) when `measured` is taken to come -reach .. reach frames late.

    All lags compare the same frames of `truth`: those of `span`, `reach` away from either end.

    Returns:
        (2 · reach + 1,).
    """
    start, stop = max(span.start, reach), min(span.stop, len(truth) - reach)
    return np.array(
        [
            pearson(truth[start:stop], measured[start + lag : stop + lag])
            for lag in range(-reach, reach + 1)
        ]
    )


def agreement(tracks: Sequence[np.ndarray]) -> float:
    """Mean correlation over all pairs of tracks (F,)."""
    return float(np.mean([pearson(a, b) for a, b in combinations(tracks, 2)]))


def fast_energy(tracks: np.ndarray) -> float:
    """Mean power of what is faster than :data:`FAST_HZ` in tracks (F, K), summed over K.

    Differences from frame to frame are taken first, so that a slow drift does not leak through the
    window's side lobes; they weigh high frequencies more, as the eye does.
    """
    steps = np.diff(tracks, axis=0)
    spectrum = np.fft.rfft(steps * np.hanning(len(steps))[:, None], axis=0)
    fast = np.fft.rfftfreq(len(steps), 1 / FPS) > FAST_HZ
    return float(np.square(np.abs(spectrum[fast])).sum() / len(steps))
