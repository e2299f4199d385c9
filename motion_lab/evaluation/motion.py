"""How well a motion model speaks: measured in the frames that come out, not in what it predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from motion_lab.data.audio import SAMPLES_PER_FRAME
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.renderer import LANDMARK_NAMES
from motion_lab.data.synthetic.renderer import render as render_head
from motion_lab.data.synthetic.speech import SILENCE, Speech
from motion_lab.data.synthetic.worlds import portrait_pose
from motion_lab.data.video import FPS
from motion_lab.evaluation.arms import arm_scores, head_of
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.flow import hand_speed, optical_flow
from motion_lab.evaluation.lab.landmarks import Landmarks, face_scale, found, mouth_opening
from motion_lab.evaluation.metrics import Metric, measure
from motion_lab.evaluation.speakers import Speaker
from motion_lab.evaluation.tracks import agreement, correlation_by_lag, fast_energy, pearson
from motion_lab.inference.animate import render
from motion_lab.models.base_model import BaseModel
from motion_lab.models.motion_model import MotionModel

LAGS = 5
"""Frames by which lips may come early or late and still be compared."""
_HEAD = [
    LANDMARK_NAMES.index(name)
    for name in ("eye_outer_left", "eye_outer_right", "nose_tip", "cheek_left", "cheek_right")
]
_PAUSE = 0.25  # seconds: shorter silences do not close the mouth
_TRANSITION = 0.12  # seconds that lips take to close, and to open before a sound

Locate = Callable[[Tensor], Landmarks]
"""Frames (F, 3, S, S) uint8 → where the face is in them, as ``LandmarkNet.track`` says it."""


class Face(NamedTuple):
    """What is seen of a face in F frames, in units of its size."""

    opening: np.ndarray  # (F,), of the mouth
    head: np.ndarray  # (F, K), places of points that the head carries along
    found: np.ndarray  # (F,) bool, whether there is a face at all


class _Take(NamedTuple):
    """One sentence: who said what, face and hands of the true frames and of generated samples."""

    speaker: Speaker
    rest: float  # opening of the mouth in the portrait
    true: Face
    made: list[Face]
    true_hands: np.ndarray  # (F - 1,), their speed; empty of a head alone
    made_hands: list[np.ndarray]


@torch.inference_mode()
def evaluate_motion(
    base: BaseModel,
    model: MotionModel,
    speakers: Iterable[Speaker],
    locate: Locate,
    *,
    samples: int = 2,
    metrics: Mapping[str, Metric] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    batch: int = 8,
) -> dict[str, Any]:
    """Scores of a motion model over its base model, both in evaluation mode.

    Each speaker's resting portrait is moved by their voice, `samples` times from different noise.
    Mouth and head are then measured in the rendered frames, and in those of the true motion.

    Args:
        locate: the landmarks that everything is measured by, independent of both models.
        metrics: registered metrics to run as well, on the first sample of each sentence against
            the true frames.
        steps, guidance: as :meth:`MotionModel.generate` takes them.
        batch: frames decoded at a time.

    Returns:
        Means over sentences and samples. jaw_r: Pearson correlation, while the sentence is spoken,
        of the mouth's opening with the jaw that made the phonemes; jaw_r_by_language;
        jaw_r_true, of the true frames, what the measurement itself can reach; jaw_r_shuffled, with
        the jaws of other sentences; jaw_lag_frames, by how much the mouth comes late, where the
        correlation is greatest. silence: the mouth's opening in pauses as a share of the true one
        in speech, and silence_true. lips_agree: correlation of the openings of a sentence's
        samples; div: standard deviation of the head between them, in face sizes (neither of a
        single sample). jitter: power of what moves faster than 6 Hz over that in the true frames,
        the larger of jitter_head and jitter_mouth. face_found: share of the generated frames in
        which there is a face to measure. Of bodies, the face is that of their heads' part of the
        frame, and there are the scores of :func:`motion_lab.evaluation.arms.arm_scores`. The
        metrics' scores, their counts under "counts", and under "failed" why one gave none.

    Raises:
        UsageError: as the metrics do.
    """
    takes: list[_Take] = []

    def clips() -> Iterator[tuple[Clip, Clip]]:
        for index, speaker in enumerate(speakers):
            portrait, true = _film(speaker, base.image_size)
            made = _animate(base, model, portrait, speaker, index, samples, steps, guidance, batch)
            look = head_of if speaker.identity.body else _whole
            rest, shown, *faces = (face_of(locate(look(each))) for each in (portrait, true, *made))
            hands, *made_hands = (
                hand_speed(optical_flow(each)) if speaker.identity.body else np.zeros(0)
                for each in (true, *made)
            )
            opening = rest.opening.item()
            takes.append(_Take(speaker, opening, shown, faces, hands, made_hands))
            wave = torch.from_numpy(speaker.speech.wave)
            yield Clip(made[0], wave), Clip(true, wave)

    measured = measure(metrics or {}, clips())
    scores: dict[str, Any] = _lips(takes) | _silence(takes) | _variety(takes) | _jitter(takes)
    if any(take.speaker.identity.body for take in takes):
        scores |= arm_scores(
            [speed for take in takes for speed in take.made_hands],
            [take.true_hands for take in takes],
            [take.speaker.speech for take in takes],
        )
    scores["face_found"] = float(np.mean([face.found for take in takes for face in take.made]))
    return scores | measured.values | {"counts": measured.counts, "failed": measured.failed}


def _film(speaker: Speaker, size: int) -> tuple[Tensor, Tensor]:
    """The resting portrait (1, 3, S, S) and the true frames (F, 3, S, S), uint8."""
    rest = portrait_pose(speaker.motion)
    frames = render_head(
        speaker.identity,
        np.concatenate([rest, speaker.motion]),
        size,
        threads=torch.get_num_threads(),
        channels=("image",),
    ).image
    pictures = torch.from_numpy(frames).movedim(-1, 1)
    return pictures[:1], pictures[1:]


def _whole(frames: Tensor) -> Tensor:
    return frames


def _animate(
    base: BaseModel,
    model: MotionModel,
    portrait: Tensor,
    speaker: Speaker,
    index: int,
    samples: int,
    steps: int | None,
    guidance: float | None,
    batch: int,
) -> list[Tensor]:
    """The portrait (1, 3, S, S) moved by the speaker's voice: samples of (F, 3, S, S) uint8."""
    device = next(base.parameters()).device
    source = base.encode_source(portrait.to(device).float() / 255)
    wave = torch.from_numpy(speaker.speech.wave).to(device)
    deviations = model.generate(
        wave.expand(samples, -1),
        source.motion.expand(samples, -1),
        steps=steps,
        guidance=guidance,
        generator=torch.Generator().manual_seed(index),
    )
    return [
        torch.from_numpy(np.stack(list(render(base, source, sample, batch)))).movedim(-1, 1)
        for sample in deviations
    ]


def face_of(seen: Landmarks) -> Face:
    """What the landmarks of a clip's frames say about its face."""
    points = seen.points.double().cpu()
    head = points[:, _HEAD].flatten(1) / face_scale(points).mean()
    return Face(mouth_opening(points).numpy(), head.numpy(), found(seen).cpu().numpy())


def _lips(takes: list[_Take]) -> dict[str, Any]:
    jaw = MOTION.index("jaw")
    jaws = [take.speaker.motion[:, jaw] for take in takes]
    spans = [_span(take.speaker.speech) for take in takes]
    by_language: dict[str, list[float]] = {}
    lagged, reachable = [], []
    for take, truth, span in zip(takes, jaws, spans, strict=True):
        values = [correlation_by_lag(truth, face.opening, span, LAGS) for face in take.made]
        lagged += values
        reachable.append(correlation_by_lag(truth, take.true.opening, span, LAGS)[LAGS])
        right = [float(value[LAGS]) for value in values]
        by_language.setdefault(take.speaker.language, []).extend(right)
    mean = np.mean(lagged, axis=0)
    shuffled = []
    for one, other in permutations(range(len(takes)), 2):
        both = slice(
            max(spans[one].start, spans[other].start), min(spans[one].stop, spans[other].stop)
        )
        for face in takes[other].made:
            shuffled.append(pearson(jaws[one][both], face.opening[both]))
    return {
        "jaw_r": float(mean[LAGS]),
        "jaw_lag_frames": int(mean.argmax()) - LAGS,
        "jaw_r_shuffled": float(np.mean(shuffled)),
        "jaw_r_true": float(np.mean(reachable)),
        "jaw_r_by_language": {
            language: float(np.mean(values)) for language, values in by_language.items()
        },
    }


def _silence(takes: list[_Take]) -> dict[str, float]:
    speech = np.concatenate(
        [take.true.opening[_span(take.speaker.speech)] - take.rest for take in takes]
    ).mean()

    def share(faces: Callable[[_Take], list[Face]]) -> float:
        quiet = [
            face.opening[_pauses(take.speaker.speech)] - take.rest
            for take in takes
            for face in faces(take)
        ]
        return float(np.concatenate(quiet).mean() / speech)

    return {
        "silence": share(lambda take: take.made),
        "silence_true": share(lambda take: [take.true]),
    }


def _variety(takes: list[_Take]) -> dict[str, float]:
    if len(takes[0].made) < 2:
        return {}
    lips = [agreement([face.opening for face in take.made]) for take in takes]
    heads = [np.stack([face.head for face in take.made]).var(0, ddof=1).mean() for take in takes]
    return {"lips_agree": float(np.mean(lips)), "div": float(np.sqrt(np.mean(heads)))}


def _jitter(takes: list[_Take]) -> dict[str, float]:
    def ratio(tracks: Callable[[Face], np.ndarray]) -> float:
        made = np.mean([fast_energy(tracks(face)) for take in takes for face in take.made])
        return float(made / np.mean([fast_energy(tracks(take.true)) for take in takes]))

    head, mouth = ratio(lambda face: face.head), ratio(lambda face: face.opening[:, None])
    return {"jitter": max(head, mouth), "jitter_head": head, "jitter_mouth": mouth}


def _span(speech: Speech) -> slice:
    """Frames from the first sound to the last."""
    sounds = [(start, end) for start, end, symbol in speech.phonemes if symbol != SILENCE]
    return slice(int(sounds[0][0] * FPS), int(np.ceil(sounds[-1][1] * FPS)))


def _pauses(speech: Speech) -> np.ndarray:
    """(F,) bool: frames within pauses, away from the sounds before and after."""
    middles = (np.arange(len(speech.wave) // SAMPLES_PER_FRAME) + 0.5) / FPS
    inside = np.zeros(len(middles), bool)
    for start, end, symbol in speech.phonemes:
        if symbol == SILENCE and end - start >= _PAUSE:
            inside |= (middles > start + _TRANSITION) & (middles < end - _TRANSITION)
    return inside
