"""How well hands keep time with a voice: measured in the frames of upper bodies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from motion_lab.data.synthetic.parameters import BODY_EYES, BODY_VIEW
from motion_lab.data.synthetic.speech import Speech
from motion_lab.data.video import FPS
from motion_lab.evaluation.metrics.flow_gestures import hand_alignment

BEFORE = 0.1
"""Seconds before a stressed vowel at which a stroke that lands on it is fastest."""

Speeds = Sequence[NDArray[np.floating]]
"""Of each clip (F - 1,), as :func:`motion_lab.evaluation.flow.hand_speed` gives it."""


def head_of(frames: Tensor) -> Tensor:
    """What a head's frame would show of a body's frames (F, 3, S, S): its head at rest."""
    size = frames.shape[-1]
    side = round(size / BODY_VIEW)
    left, top = (size - side) // 2, round(size * (BODY_EYES - 0.42 / BODY_VIEW))
    return frames[..., top : top + side, left : left + side]


def arm_scores(made: Speeds, true: Speeds, speeches: Sequence[Speech]) -> dict[str, float]:
    """Scores of hands that move with these voices; `made` may hold several samples of each.

    strokes: how much faster hands are a tenth of a second before a stressed vowel than on it, over
    the sum of both; 0 by chance. strokes_true, of the true frames; strokes_shuffled, with the
    vowels of all other sentences. bas_true and bas_shuffled: the score of ``bas[flow]`` in the true
    frames, with their own sound and with that of all others, which is what chance gives.
    """
    samples = len(made) // len(true)
    owners = [speech for speech in speeches for _ in range(samples)]
    others = [(i, j) for i in range(len(true)) for j in range(len(true)) if i != j]
    return {
        "strokes": stroke_contrast(made, owners),
        "strokes_true": stroke_contrast(true, speeches),
        "strokes_shuffled": stroke_contrast(
            [speed for i, _ in others for speed in made[i * samples : (i + 1) * samples]],
            [speeches[j] for _, j in others for _ in range(samples)],
        ),
        "bas_true": _alignment(true, speeches),
        "bas_shuffled": _alignment([true[i] for i, _ in others], [speeches[j] for _, j in others]),
    }


def stroke_contrast(speeds: Speeds, speeches: Sequence[Speech]) -> float:
    """(before - on) / (before + on), of the mean speeds before stressed vowels and on them.

    Each clip counts in units of its own mean speed. NaN where nobody moves or stresses anything.
    """
    before = on = 0.0
    for speed, speech in zip(speeds, speeches, strict=True):
        clock = (np.arange(len(speed)) + 1) / FPS  # between two frames
        vowels = [(a + b) / 2 for a, b, symbol in speech.phonemes if symbol.startswith("ˈ")]
        moments = np.array([time for time in vowels if clock[0] + BEFORE < time < clock[-1]])
        share = speed / max(float(speed.mean()), 1e-9)
        before += float(np.interp(moments - BEFORE, clock, share).sum())
        on += float(np.interp(moments, clock, share).sum())
    return (before - on) / (before + on) if before + on else float("nan")


def _alignment(speeds: Speeds, speeches: Sequence[Speech]) -> float:
    """Mean over clips whose sound has onsets; NaN where none has."""
    pairs = zip(speeds, speeches, strict=True)
    found = np.array([hand_alignment(speed, speech.wave) for speed, speech in pairs])
    heard = found[~np.isnan(found)]
    return float(heard.mean()) if len(heard) else float("nan")
