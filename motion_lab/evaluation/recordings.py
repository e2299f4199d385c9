"""Recorded voices, of which nobody knows the jaw: lips against loudness, and drift over minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lab.data.audio import SAMPLES_PER_FRAME, Wave
from motion_lab.data.synthetic.identity import sample_identity
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.renderer import render as render_head
from motion_lab.data.video import FPS
from motion_lab.evaluation.lab.landmarks import Landmarks
from motion_lab.evaluation.motion import LAGS, Face, Locate, face_of
from motion_lab.evaluation.tracks import correlation_by_lag, pearson
from motion_lab.inference.animate import render
from motion_lab.models.base_model import BaseModel
from motion_lab.models.motion_model import MotionModel

LONG = 3
"""Minutes from which on a recording has a first and a last one to compare."""
MINUTE = 60 * FPS  # frames
_AUDIBLE = 0.05  # of the loudest frame
_SYLLABLE = 5  # frames, of the mean over the loudness: what is faster no jaw follows

_WORLD = 520_711  # first number of every head's random stream; training's begin with its seed

Embed = Callable[[Tensor], Tensor]
"""Frames (F, 3, S, S) uint8 → unit vectors (F, D) that tell people apart."""


class Watched(NamedTuple):
    """One recording, as it is seen in the F frames that it made."""

    wave: Wave
    face: Face
    likeness: np.ndarray  # (F / 25,), cosine of every 25th frame with the portrait


def resting_head(seed: int, index: int, size: int) -> Tensor:
    """The portrait (1, 3, size, size) uint8 of a held-out head."""
    identity = sample_identity(np.random.default_rng([_WORLD, seed, index]))
    rest = np.zeros((1, len(MOTION)), np.float32)
    picture = render_head(identity, rest, size, channels=("image",)).image
    return torch.from_numpy(picture).movedim(-1, 1)


@torch.inference_mode()
def watch(
    base: BaseModel,
    model: MotionModel,
    portrait: Tensor,
    wave: Wave,
    locate: Locate,
    embed: Embed,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    batch: int = 8,
) -> Watched:
    """A portrait (1, 3, S, S) uint8 moved by a wave (T,) at 16 kHz, and what is seen of it.

    Frames are looked at a minute at a time and forgotten, so an hour needs no more memory.
    """
    device = next(base.parameters()).device
    source = base.encode_source(portrait.to(device).float() / 255)
    motion = model.generate(
        torch.from_numpy(wave)[None].to(device),
        source.motion,
        steps=steps,
        guidance=guidance,
        generator=torch.Generator().manual_seed(seed),
    )[0]
    person = embed(portrait)
    seen: list[Landmarks] = []
    likeness: list[Tensor] = []
    for part in motion.split(MINUTE):
        pictures = np.stack(list(render(base, source, part, batch)))
        frames = torch.from_numpy(pictures).movedim(-1, 1)
        seen.append(locate(frames))
        likeness.append(F.cosine_similarity(embed(frames[::FPS]), person).cpu())
    whole = Landmarks(*(torch.cat(parts) for parts in zip(*seen, strict=True)))
    return Watched(wave, face_of(whole), torch.cat(likeness).double().numpy())


def loudness(wave: Wave) -> np.ndarray:
    """The envelope of a wave (T,) at 16 kHz: root mean square of 0.2 s around each of F frames."""
    frames = -(-len(wave) // SAMPLES_PER_FRAME)
    filled = np.pad(wave.astype(np.float64), (0, frames * SAMPLES_PER_FRAME - len(wave)))
    power = np.square(filled).reshape(frames, -1).mean(1)
    return np.sqrt(np.convolve(power, np.ones(_SYLLABLE) / _SYLLABLE, "same"))


def follow(watched: Sequence[Watched]) -> dict[str, float]:
    """How mouths follow the voices that moved them.

    Returns:
        Means over recordings. envelope_r: Pearson correlation of the mouth's opening with the
        voice's loudness, from the first audible frame to the last; envelope_lag_frames: by how
        much the mouth comes late where that is greatest; envelope_r_shuffled: with the loudness of
        the other recordings, if there are any.
    """
    envelopes = [loudness(each.wave) for each in watched]
    spans = [_audible(envelope) for envelope in envelopes]
    lagged = [
        correlation_by_lag(envelope, each.face.opening, span, LAGS)
        for each, envelope, span in zip(watched, envelopes, spans, strict=True)
    ]
    mean = np.mean(lagged, axis=0)
    scores = {
        "envelope_r": float(mean[LAGS]),
        "envelope_lag_frames": int(mean.argmax()) - LAGS,
    }
    shuffled = []
    for one, other in permutations(range(len(watched)), 2):
        both = slice(
            max(spans[one].start, spans[other].start), min(spans[one].stop, spans[other].stop)
        )
        shuffled.append(pearson(envelopes[one][both], watched[other].face.opening[both]))
    return scores | ({"envelope_r_shuffled": float(np.mean(shuffled))} if shuffled else {})


def over_minutes(watched: Watched, window: int) -> dict[str, float]:
    """Whether the last minute is as the first, and what happens every ``window`` frames.

    Returns:
        drift: how far the mean of the last minute lies from that of the first, in standard
        deviations of the first, in that of the tracks (the mouth's opening, places of the head)
        where it is most. liveliness: standard deviation in the last minute over that in the first,
        mean over tracks. likeness_first and likeness_last: mean cosine with the portrait;
        likeness_drift: by how much it fell, in standard deviations of the first minute. seam: mean
        acceleration where windows join, over the 99th percentile elsewhere.

    Raises:
        ValueError: it lasts less than :data:`LONG` minutes.
    """
    tracks = np.concatenate([watched.face.opening[:, None], watched.face.head], axis=1)
    if len(tracks) < LONG * MINUTE:
        raise ValueError(f"{len(tracks)} frames are less than {LONG} minutes")
    first, final = tracks[:MINUTE], tracks[-MINUTE:]
    early, late = watched.likeness[:60], watched.likeness[-60:]
    # Of frame i + 1, in spreads of the track.
    acceleration = np.linalg.norm(np.diff(tracks, 2, axis=0) / tracks.std(0), axis=1)
    joins = np.zeros(len(acceleration), bool)
    joins[window - 2 :: window] = joins[window - 1 :: window] = True
    return {
        "drift": float((np.abs(final.mean(0) - first.mean(0)) / first.std(0)).max()),
        "liveliness": float((final.std(0) / first.std(0)).mean()),
        "likeness_first": float(early.mean()),
        "likeness_last": float(late.mean()),
        "likeness_drift": float((early.mean() - late.mean()) / early.std()),
        "seam": float(acceleration[joins].mean() / np.percentile(acceleration[~joins], 99)),
    }


def _audible(envelope: np.ndarray) -> slice:
    heard = np.flatnonzero(envelope > _AUDIBLE * envelope.max())
    return slice(int(heard[0]), int(heard[-1]) + 1)
