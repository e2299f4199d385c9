"""The checks of metrics: what they say of themselves, and that they measure the clips alone."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable
from typing import Any, get_args

import numpy as np
import torch

from motion_lab.conformance.kinds import FRAME, Subject
from motion_lab.data.synthetic.identity import sample_identity
from motion_lab.data.synthetic.motion import sample_motion
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.renderer import render
from motion_lab.errors import UsageError
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.metrics.metric import Better, Need

FRAMES, SIZE = 40, 64

Pair = tuple[Clip, Clip]


def declarations(subject: Subject) -> None:
    """``scores``, ``needs`` and ``protocol()`` are what results and tables can be made of."""
    metric = subject.make(device="cpu")
    assert metric.scores, "scores must name at least one"
    for name, better in metric.scores.items():
        assert better in get_args(Better), f"scores[{name!r}] must be higher or lower: {better!r}"
    unknown = set(metric.needs) - set(get_args(Need))
    assert not unknown, f"needs has {sorted(unknown)}; known are {', '.join(get_args(Need))}"
    protocol = metric.protocol()
    try:
        text = json.dumps(protocol, sort_keys=True)
    except TypeError as error:
        raise AssertionError(f"protocol() must be representable as JSON: {error}") from error
    again = json.dumps(subject.make(device="cpu").protocol(), sort_keys=True)
    assert text == again, "two instances of the same settings state different protocols"


def results(subject: Subject) -> None:
    """All the scores come out as finite numbers, and beside them whole numbers that count."""
    metric = subject.make(device="cpu")
    found = _score(metric, _pairs())
    missing = set(metric.scores) - set(found)
    assert not missing, f"compute() lacks {sorted(missing)}"
    for name, value in found.items():
        if name in metric.scores:
            assert math.isfinite(value), f"{name} is {value}"
        else:
            assert float(value).is_integer(), f"{name} is no score, so it must count: {value}"


def repeatability(subject: Subject) -> None:
    """The same clips give the same scores, in whatever order they come; none of them is changed."""
    pairs, kept = _pairs(), _pairs()
    first = _score(subject.make(device="cpu"), pairs)
    second = _score(subject.make(device="cpu"), reversed(pairs))
    for name, value in first.items():
        close = math.isclose(value, second[name], rel_tol=1e-4, abs_tol=1e-6)
        assert close, f"{name} is {value} and, of the clips in another order, {second[name]}"
    for pair, old in zip(pairs, kept, strict=True):
        for clip, before in zip(pair, old, strict=True):
            assert torch.equal(clip.frames, before.frames), "frames were changed in place"


def truth(subject: Subject) -> None:
    """Of pairs, no score is better than that of the reference itself."""
    metric = subject.make(device="cpu")
    if "pair" not in metric.needs:
        return
    worse = _score(metric, _pairs())
    best = _score(subject.make(device="cpu"), [(true, true) for _, true in _pairs()])
    for name, better in metric.scores.items():
        gap = (worse[name] - best[name]) * (1 if better == "higher" else -1)
        assert gap <= 1e-6, (
            f"{name} is {best[name]:g} for the reference itself and {worse[name]:g}, which is "
            f"better, for a noisy copy"
        )


def emptiness(subject: Subject) -> None:
    """Without any clip there is no score, and the error says so as a user's error."""
    metric = subject.make(device="cpu")
    try:
        found = metric.compute()
    except UsageError:
        return
    raise AssertionError(f"compute() of no clips must raise UsageError, and gave {found}")


CHECKS = (declarations, results, repeatability, truth, emptiness)


def _score(metric: Any, pairs: Iterable[Pair]) -> dict[str, float]:
    for made, true in pairs:
        metric.add(made, true)
    found: dict[str, float] = metric.compute()
    return found


def _pairs() -> list[Pair]:
    """Two heads that move their mouths to noise as loud as they are open, beside noisy copies."""
    return [
        (made._replace(frames=made.frames.clone()), true._replace(frames=true.frames.clone()))
        for made, true in _rendered()
    ]


@functools.cache
def _rendered() -> list[Pair]:
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(2):
        motion = sample_motion(rng, FRAMES, strength=0.5)
        frames = render(sample_identity(rng), motion, SIZE, channels=("image",)).image
        loud = np.repeat(0.02 + 0.3 * motion[:, MOTION.index("jaw")], FRAME)
        wave = torch.from_numpy((loud * rng.standard_normal(len(loud))).astype(np.float32))
        true = torch.from_numpy(frames).movedim(-1, 1).contiguous()
        noise = torch.from_numpy(rng.normal(0, 12, true.shape)).round()
        made = (true + noise).clamp(0, 255).to(torch.uint8)
        pairs.append((Clip(made, wave), Clip(true, wave)))
    return pairs
