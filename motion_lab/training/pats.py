"""PATS (Ahuja et al., 2020): gestures and voices of real speakers, performed by synthetic bodies.

PATS publishes no pictures: two-dimensional poses found by OpenPose, features of the sound, and a
script that fetches the sound itself. So the poses are lifted into three dimensions, a synthetic
upper body performs them, and the base model sees that. What is real is the voice, the places of
the hands in the picture and their timing; made up are who is seen, how far the hands are from the
torso, and the mouth, which opens with loudness.

Read, of the published layout (github.com/chahuja/pats)::

    cmu_intervals_df.csv              columns dataset (train, dev, test), speaker, interval_id
    missing_intervals.h5              intervals: those to leave out; need not be there
    processed/SPEAKER/INTERVAL.h5     pose/data (T, 104): x, then y, of 52 joints, 15 a second
    raw/SPEAKER_cropped/INTERVAL.mp3  the sound

Transcripts, features of sound and confidences are not read.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from scipy.ndimage import gaussian_filter1d

from motion_lab.data.audio import SAMPLE_RATE, SAMPLES_PER_FRAME, load_audio
from motion_lab.data.synthetic.bodies import (
    FOREARM,
    SHOULDER,
    SPACE,
    Floats,
    reach,
    sample_body,
    sample_pole,
)
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.prosody import loudness
from motion_lab.data.synthetic.speech import Speech
from motion_lab.data.video import FPS
from motion_lab.errors import UsageError
from motion_lab.models.base_model import BaseModel
from motion_lab.training.motion_data import Clip, MotionClips, kept_clips
from motion_lab.training.talking_heads import seen

_POSE_FPS = 15
_JOINTS = 52
# Shoulder, elbow and wrist: the person's right, which is the viewer's left, then the other.
_ARMS = ((1, 2, 3), (4, 5, 6))
_COLUMNS = ("dataset", "speaker", "interval_id")


class _Interval(NamedTuple):
    """Some seconds of one speaker."""

    poses: Path
    sound: Path


def pats(
    base: BaseModel,
    folder: Path,
    source: str,
    speakers: Sequence[str] | None = None,
    clips: int = 2000,
    held_out: int = 32,
    frames: int = 100,
    seed: int = 0,
) -> MotionClips:
    """Gestures and voices of PATS, performed by synthetic upper bodies; see the module.

    Clips are kept in `folder` as those of `talking_heads` are. One is cut out of every interval, at
    a random place; intervals without sound or poses on disk are left out, and counted on standard
    error.

    Args:
        source: the folder of PATS, which holds cmu_intervals_df.csv.
        speakers: names of its speakers; all if left out.
        clips: how many intervals of its part "train" to train on, at most.
        held_out: how many of its part "dev" to validate on, at most; "test" is not touched.
        frames: length of every clip, at 25 a second; shorter intervals are left out.

    Raises:
        UsageError: h5py is not installed; a file is missing, broken or of another layout; no
            interval is left.
    """
    root = Path(source)
    chosen = sorted(speakers or [])
    names = "-".join(chosen) if chosen else "all"
    kept = folder / f"pats-{names}-seed{seed}-{frames}frames"
    parts = []
    for part, most, where in (("train", clips, "train"), ("dev", held_out, "held_out")):
        intervals = _intervals(root, part, chosen, frames, most, seed)

        def make(index: int, intervals: list[_Interval] = intervals, part: str = part) -> Clip:
            rng = np.random.default_rng([seed, part == "dev", index])
            return _perform(intervals[index], frames, base, rng)

        parts.append(kept_clips(kept / where, len(intervals), make))
    return MotionClips(*parts)


def lift(poses: Floats) -> Floats:
    """Two-dimensional poses → places of wrists as :mod:`motion_lab.data.synthetic.bodies` has them.

    Args:
        poses: (T, 2, 52), x to the right and y downwards in pixels, relative to the neck.

    Returns:
        (T, 2, 3). The distance of the shoulders sets the scale; a forearm that looks short points
        to the camera, and no hand is behind the front of the gesture space.
    """
    right, left = (poses[:, :, arm[0]] for arm in _ARMS)
    width = float(np.median(np.linalg.norm(left - right, axis=1)))
    if not width > 0:
        raise UsageError("the shoulders are in one place")
    scale = 2 * SHOULDER[0] / width
    places = []
    for outwards, (_, elbow, wrist) in zip((-1, 1), _ARMS, strict=True):
        hand = scale * poses[:, :, wrist]
        forearm = hand - scale * poses[:, :, elbow]
        depth = np.sqrt(np.maximum(FOREARM**2 - (forearm**2).sum(1), 0))
        z = np.clip(SHOULDER[2] + depth, *SPACE[2])
        places.append(np.stack([outwards * hand[:, 0], SHOULDER[1] - hand[:, 1], z], 1))
    return np.stack(places, 1)


def _perform(interval: _Interval, frames: int, base: BaseModel, rng: np.random.Generator) -> Clip:
    poses, wave = _read_poses(interval.poses), load_audio(interval.sound)
    length = int(min(len(poses) / _POSE_FPS, len(wave) / SAMPLE_RATE) * FPS)
    if length < frames:
        raise UsageError(
            f"{interval.sound} is shorter than the poses beside it; fetch it again, or remove it."
        )
    first = int(rng.integers(length - frames + 1))
    try:
        places = lift(poses)
    except UsageError as error:
        raise UsageError(f"{interval.poses}: {error}.") from error
    # OpenPose trembles; a frame shows the middle of its 40 ms.
    places = gaussian_filter1d(places, 0.6, axis=0)
    clock = (first + np.arange(frames) + 0.5) / FPS
    given = np.arange(len(places)) / _POSE_FPS
    tracks = [np.interp(clock, given, track) for track in places.reshape(len(places), -1).T]
    wrists = np.stack(tracks, 1).reshape(frames, 2, 3)
    arms = reach(wrists, sample_pole(rng), np.full((frames, 2), rng.uniform(0.2, 1.2)))
    sound = wave[first * SAMPLES_PER_FRAME : (first + frames) * SAMPLES_PER_FRAME]
    motion = np.zeros((frames, len(MOTION)), np.float32)
    motion[:, MOTION.index("jaw")] = np.minimum(0.6 * loudness(Speech(sound, ()), frames), 0.8)
    return seen(base, sample_body(rng), np.concatenate([motion, arms], axis=1), sound)


def _intervals(
    root: Path, part: str, speakers: list[str], frames: int, most: int, seed: int
) -> list[_Interval]:
    """Up to so many intervals of a part that are on disk and long enough, in random order."""
    rows = [row for row in _table(root) if row["dataset"] == part]
    known = {row["speaker"] for row in rows}
    unknown = sorted(set(speakers) - known)
    if unknown:
        raise UsageError(
            f"{root}: part {part!r} has nothing of {', '.join(unknown)}; it has speakers "
            f"{', '.join(sorted(known)) or 'none'}."
        )
    missing = _missing(root)
    found: list[_Interval] = []
    absent = short = 0
    named = sorted({(row["speaker"], row["interval_id"]) for row in rows})
    for index in np.random.default_rng(seed).permutation(len(named)):
        speaker, name = named[index]
        if name in missing or (speakers and speaker not in speakers):
            continue
        if len(found) == most:
            break
        interval = _Interval(
            root / "processed" / speaker / f"{name}.h5",
            root / "raw" / f"{speaker}_cropped" / f"{name}.mp3",
        )
        if not (interval.poses.is_file() and interval.sound.is_file()):
            absent += 1
        elif len(_read_poses(interval.poses)) < np.ceil(frames * _POSE_FPS / FPS):
            short += 1
        else:
            found.append(interval)
    left_out = f"{absent} lack poses or sound, {short} are shorter than {frames} frames"
    if not found:
        raise UsageError(
            f"{root} has no interval of part {part!r} to read: {left_out}. Poses belong in "
            "processed/SPEAKER/INTERVAL.h5, sound in raw/SPEAKER_cropped/INTERVAL.mp3."
        )
    if absent or short:
        Console(stderr=True).print(f"PATS, {part}: {len(found)} intervals; {left_out}.")
    return found


def _table(root: Path) -> Iterator[dict[str, str]]:
    path = root / "cmu_intervals_df.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            lacking = set(_COLUMNS) - set(reader.fieldnames or ())
            if lacking:
                raise UsageError(f"{path} lacks the columns {', '.join(sorted(lacking))}.")
            yield from reader
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: name the folder of PATS. ({error})") from error


def _missing(root: Path) -> set[str]:
    path = root / "missing_intervals.h5"
    if not path.exists():
        return set()
    with _open(path) as file:
        names = file["intervals"][()] if "intervals" in file else ()
    return {name.decode() if isinstance(name, bytes) else str(name) for name in names}


def _read_poses(path: Path) -> Floats:
    """(T, 2, 52), relative to the neck."""
    with _open(path) as file:
        if "pose/data" not in file:
            raise UsageError(f"{path} has no pose/data; fetch the processed features again.")
        poses = np.asarray(file["pose/data"], np.float64)
    if poses.ndim != 2 or poses.shape[1] != 2 * _JOINTS or not np.isfinite(poses).all():
        raise UsageError(
            f"{path}: pose/data must be finite and of shape (frames, {2 * _JOINTS}), not "
            f"{poses.shape}."
        )
    return poses.reshape(-1, 2, _JOINTS)


def _open(path: Path) -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise UsageError(
            "PATS is read with h5py, which is not installed: pip install 'motion-lab[pats]'"
        ) from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UsageError(f"{path} is broken or no HDF5 file: {error}") from error
