"""Random poses and motions of synthetic heads, inside the ranges of the frozen evaluation."""

from __future__ import annotations

import numpy as np

from motion_lab.data.synthetic.parameters import LIMITS, MOTION

FPS = 25
_DEGREES = np.pi / 180
# The greatest value at strength 1, on either side of zero.
RANGES = {
    "yaw": 35 * _DEGREES,
    "pitch": 20 * _DEGREES,
    "roll": 15 * _DEGREES,
    "shift_x": 0.05,
    "shift_y": 0.04,
    "zoom": 0.10,
    "gaze_x": 0.40,
    "gaze_y": 0.25,
    "smile": 1.0,
    "lip_width": 1.0,
    "brow_raise": 1.0,
}
# Probability and greatest value of what is at rest most of the time.
_OCCASIONAL = {"lip_press": (0.25, 1.0), "brow_frown": (0.3, 1.0)}
_WINK = 0.08


def _index(name: str) -> int:
    return MOTION.index(name)


def sample_poses(rng: np.random.Generator, frames: int, *, strength: float = 1.0) -> np.ndarray:
    """Independent frames, (frames, 16) float32.

    ``strength`` in 0..1 scales every range, for curricula from small motions to large.
    """
    _check(frames, strength)
    poses = np.zeros((frames, len(MOTION)), np.float32)
    for name, greatest in RANGES.items():
        # Flat over most of the range: the extremes are as frequent as rest.
        poses[:, _index(name)] = rng.uniform(-greatest, greatest, frames)
    calm = rng.random(frames) < 0.3
    for name in ("smile", "lip_width", "brow_raise"):
        poses[calm, _index(name)] *= 0.2
    poses[:, _index("jaw")] = np.where(rng.random(frames) < 0.3, 0.0, rng.beta(1.0, 1.4, frames))
    for name, (share, greatest) in _OCCASIONAL.items():
        on = rng.random(frames) < share
        poses[:, _index(name)] = on * rng.uniform(0.2, greatest, frames)
    # Pressed lips do not spread, pucker or open wide.
    pressed = 1 - poses[:, _index("lip_press")]
    for name in ("jaw", "lip_width"):
        poses[:, _index(name)] *= pressed
    kind = rng.random(frames)
    shut = np.where(kind < 0.55, rng.uniform(0, 0.15, frames), rng.uniform(0.2, 1.0, frames))
    shut = np.where(kind > 0.85, 1.0, shut)
    for name in ("blink_left", "blink_right"):
        poses[:, _index(name)] = shut
    winks = rng.random(frames) < _WINK
    side = np.where(rng.random(frames) < 0.5, _index("blink_left"), _index("blink_right"))
    poses[winks, side[winks]] = rng.uniform(0, 1, int(winks.sum()))
    return _limited(poses * np.float32(strength))


def sample_motion(rng: np.random.Generator, frames: int, *, strength: float = 1.0) -> np.ndarray:
    """A smooth expressive motion at 25 fps, (frames, 16) float32.

    Head, brows and mouth wander between random poses with ease-in and ease-out; the gaze jumps;
    the eyes blink every few seconds.
    """
    _check(frames, strength)
    motion = np.zeros((frames, len(MOTION)), np.float32)
    for names, seconds in (
        (("yaw", "pitch", "roll", "shift_x", "shift_y", "zoom"), (0.6, 2.0)),
        (("smile", "brow_raise", "brow_frown"), (0.5, 1.6)),
        (("jaw", "lip_width", "lip_press"), (0.10, 0.35)),
        (("gaze_x", "gaze_y"), (0.08, 0.10)),
    ):
        columns = [_index(name) for name in names]
        motion[:, columns] = _wander(rng, frames, columns, seconds, strength)
    # Eyes rest between jumps, and roughly counter the head's turn.
    gaze = _index("gaze_x"), _index("gaze_y")
    rest = _held(rng, frames, motion[:, gaze])
    head = motion[:, (_index("yaw"), _index("pitch"))]
    motion[:, gaze] = 0.6 * rest - 0.25 * head
    blink = blinks(rng, frames) * strength
    motion[:, _index("blink_left")] = motion[:, _index("blink_right")] = blink
    return _limited(motion)


def _check(frames: int, strength: float) -> None:
    if frames < 0:
        raise ValueError(f"frames must not be negative, got {frames}")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie in 0..1, got {strength}")


def _limited(motion: np.ndarray) -> np.ndarray:
    return np.clip(motion, LIMITS[:, 0], LIMITS[:, 1]).astype(np.float32)


def _wander(
    rng: np.random.Generator,
    frames: int,
    columns: list[int],
    seconds: tuple[float, float],
    strength: float,
) -> np.ndarray:
    """Random poses reached one after another, each move eased at both ends."""
    times = [0.0]
    while times[-1] < frames:
        times.append(times[-1] + FPS * rng.uniform(*seconds))
    poses = sample_poses(rng, len(times), strength=strength)[:, columns]
    poses *= rng.uniform(0.15, 1.0, (len(times), 1)).astype(np.float32)
    clock = np.arange(frames)
    at = np.clip(np.searchsorted(times, clock, side="right") - 1, 0, len(times) - 2)
    start = np.take(times, at)
    t = ((clock - start) / (np.take(times, at + 1) - start))[:, None]
    ease = minimum_jerk(t)
    return poses[at] * (1 - ease) + poses[at + 1] * ease


def _held(rng: np.random.Generator, frames: int, values: np.ndarray) -> np.ndarray:
    """The values frozen for random spans, like fixations between saccades."""
    out = values.copy()
    frame = 0
    while frame < frames:
        span = int(rng.integers(6, 40))
        out[frame : frame + span] = values[frame]
        frame += span
    return out


def blinks(rng: np.random.Generator, frames: int, gap: tuple[int, int] = (20, 110)) -> np.ndarray:
    """The lids of eyes that blink now and then, (frames,): 0 open .. 1 shut.

    ``gap``: the fewest frames from one blink to the next, and one more than the most.
    """
    shape = np.array([0.4, 0.95, 1.0, 0.7, 0.35, 0.1])
    lids = np.zeros(frames + len(shape))
    frame = int(rng.integers(4, 60))
    while frame < frames:
        lids[frame : frame + len(shape)] = np.maximum(lids[frame : frame + len(shape)], shape)
        frame += int(rng.integers(*gap))
    return lids[:frames]


def minimum_jerk(t: np.ndarray) -> np.ndarray:
    """The way from 0 to 1 that jerks least, for t in 0..1 (Flash and Hogan, "The coordination of
    arm movements", 1985)."""
    return t * t * t * (10 - 15 * t + 6 * t * t)


def smooth_noise(rng: np.random.Generator, frames: int, low: float, high: float) -> np.ndarray:
    """A smooth signal of unit variance between two frequencies in hertz."""
    waves = 6
    frequency = rng.uniform(low, high, waves)
    phase = rng.uniform(0, 2 * np.pi, waves)
    seconds = np.arange(frames)[:, None] / FPS
    return np.sqrt(2 / waves) * np.sin(2 * np.pi * frequency * seconds + phase).sum(axis=1)
