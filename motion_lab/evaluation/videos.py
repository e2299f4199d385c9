"""Scores of videos from any system: two files or two folders, paired by name or not."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from motion_lab.data.audio import SAMPLES_PER_FRAME, open_media
from motion_lab.data.portrait import Framing, crop_portrait, find_face, frame_face, frame_whole
from motion_lab.data.video import FPS, Image, read_video
from motion_lab.errors import UsageError
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.metrics import build_metrics, measure
from motion_lab.evaluation.results import Result
from motion_lab.models.weights import fingerprint
from registry import METRICS

T = TypeVar("T")

_SUFFIXES = {".mp4", ".mov", ".webm", ".avi", ".mkv", ".m4v"}
_ASPECT = 0.02  # by which the shapes of a pair may differ: codecs round sizes to even numbers


@dataclass(frozen=True)
class Videos:
    """What to compare, and how it is brought to one form.

    Attributes:
        generated: a video, or a folder of them.
        reference: the same, of real videos; None where metrics need none.
        paired: whether a generated video and the reference of its name (or the only two) show the
            same. Else both are sets.
        size: side in pixels of the frames that metrics see.
        crop: "whole" takes the central square of each frame; "face" frames the face found in the
            reference's first frame, as Motion Lab frames portraits.
    """

    generated: Path
    reference: Path | None
    paired: bool = True
    size: int = 256
    crop: str = "whole"

    def __post_init__(self) -> None:
        if self.size < 32:
            raise UsageError(f"the size must be at least 32 pixels, got {self.size}.")
        if self.crop not in ("whole", "face"):
            raise UsageError(f"the crop must be whole or face, got {self.crop!r}.")


@dataclass
class _Account:
    """What came of the files."""

    used: dict[str, Path] = field(default_factory=dict)  # references by name
    generated: int = 0
    dropped: dict[str, str] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    cut_frames: int = 0


def evaluate_videos(
    videos: Videos,
    metrics: Sequence[str | Mapping[str, Any]] | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> Result:
    """Score videos by registered metrics.

    A file that cannot be read, or a pair of unlike shapes, is dropped and counted; of a pair of
    unlike lengths the end of the longer is left out and counted.

    Args:
        videos: what to compare.
        metrics: names, or mappings of ``name`` and arguments; by default all that need no file
            and find what they need.
        device: where to compute.
        progress: wraps the list of names that is walked through.

    Raises:
        UsageError: there is nothing to read or no name in common, a metric lacks what it needs,
            or not a single score came out.
    """
    generated = find_videos(videos.generated)
    references = find_videos(videos.reference) if videos.reference else {}
    paired = videos.paired and bool(references)
    account = _Account()
    if paired:
        generated, references = _match(videos, generated, references, account)
    if metrics is None:
        metrics = _all_that_fit(paired, bool(references), generated.values())
    built = build_metrics(metrics, device)
    for name, metric in built.items():
        lacks = ("references" in metric.needs and not references) or (
            "pair" in metric.needs and not paired
        )
        if lacks:
            what = "pairs of videos" if "pair" in metric.needs else "reference videos"
            raise UsageError(f"{name} needs {what}: give them, or leave {name} out.")
        mute = [path for path in generated.values() if not _has_sound(path)]
        if "audio" in metric.needs and mute:
            raise UsageError(
                f"{name} needs sound, and {len(mute)} of {len(generated)} generated videos have no "
                f"sound track, the first {mute[0]}. Add it, or leave {name} out."
            )
    clips = _pairs if paired else _sets
    scores = measure(built, clips(videos, generated, references, account, progress))
    protocol = {
        "videos": {
            "paired": paired,
            "fps": FPS,
            "size": videos.size,
            "crop": videos.crop,
            "length": "the shorter of a pair" if paired else "whole",
            "generated": account.generated,
            "references": len(account.used),
            "references_sha256": _digest(account.used),
        },
        "metrics": {name: metric.protocol() for name, metric in built.items()},
    }
    made = {
        "generated": str(videos.generated),
        "reference": str(videos.reference) if videos.reference else None,
        "device": str(device),
        "counts": scores.counts,
        "failed": scores.failed,
        "dropped": account.dropped,
        "unmatched": account.unmatched,
        "cut_frames": account.cut_frames,
    }
    better = {key: way for metric in built.values() for key, way in metric.scores.items()}
    kept = {key: way for key, way in better.items() if key in scores.values}
    return Result("videos", scores.values, protocol, made, kept)


def find_videos(path: Path) -> dict[str, Path]:
    """Videos by name without suffix: those of a folder, or the one file.

    Raises:
        UsageError: there is none, or two of one name.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder. Check the name.")
    if not path.is_dir():
        return {path.stem: path}
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.lower() in _SUFFIXES and file.is_file():
            if file.stem in found:
                raise UsageError(
                    f"{path} holds {found[file.stem].name} and {file.name}: videos are matched by "
                    "name without suffix, so each may be there once."
                )
            found[file.stem] = file
    if not found:
        kinds = ", ".join(sorted(_SUFFIXES))
        raise UsageError(f"{path} holds no videos ({kinds}). Name the folder they lie in.")
    return found


def read_clip(path: Path, size: int, framing: Framing | None = None) -> Clip:
    """A video as metrics see it; its central square unless a framing is given.

    Raises:
        UsageError: it cannot be read as a video.
    """
    video = read_video(path, FPS)
    frames = []
    for frame in video.frames:
        frames.append(crop_portrait(frame, size, framing or frame_whole(frame))[0])
    wave = None if video.audio is None else torch.from_numpy(video.audio)
    return Clip(torch.from_numpy(np.stack(frames)).movedim(-1, 1).contiguous(), wave)


def _match(
    videos: Videos, generated: dict[str, Path], references: dict[str, Path], account: _Account
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Those with a counterpart; a single file each is a pair whatever the names."""
    if videos.generated.is_file() and videos.reference and videos.reference.is_file():
        (name,) = generated
        return generated, {name: videos.reference}
    common = [name for name in generated if name in references]
    if not common:
        raise UsageError(
            f"{videos.generated} and {videos.reference} have no names in common "
            f"({', '.join(list(generated)[:3])} … and {', '.join(list(references)[:3])} …), and "
            "pairs are matched by name. Rename them, or compare them as sets with --unpaired."
        )
    account.unmatched = sorted(generated.keys() ^ references.keys())
    return {name: generated[name] for name in common}, {name: references[name] for name in common}


def _pairs(
    videos: Videos,
    generated: dict[str, Path],
    references: dict[str, Path],
    account: _Account,
    progress: Callable[[Sequence[str]], Iterable[str]],
) -> Iterator[tuple[Clip | None, Clip | None]]:
    alone = len(generated) == 1
    for name in progress(list(generated)):
        paths = generated[name], references[name]
        pair = _attempt(partial(_read_pair, *paths, videos), name, alone, account)
        if pair is None:
            continue
        count = min(len(clip.frames) for clip in pair)
        account.cut_frames += sum(len(clip.frames) - count for clip in pair)
        account.used[name] = paths[1]
        account.generated += 1
        yield _cut(pair[0], count), _cut(pair[1], count)
    _expect_some(account)


def _sets(
    videos: Videos,
    generated: dict[str, Path],
    references: dict[str, Path],
    account: _Account,
    progress: Callable[[Sequence[str]], Iterable[str]],
) -> Iterator[tuple[Clip | None, Clip | None]]:
    files = {f"generated/{name}": path for name, path in generated.items()}
    files |= {f"reference/{name}": path for name, path in references.items()}
    for name in progress(list(files)):
        path = files[name]
        clip = _attempt(partial(_read_alone, path, videos), name, len(files) == 1, account)
        if clip is None:
            continue
        if name.startswith("generated/"):
            account.generated += 1
            yield clip, None
        else:
            account.used[name.removeprefix("reference/")] = path
            yield None, clip
    _expect_some(account)


def _attempt(read: Callable[[], T], name: str, alone: bool, account: _Account) -> T | None:
    """What `read` gives; None, with the reason in the account, where that fails among others."""
    try:
        return read()
    except UsageError as error:
        if alone:
            raise
        account.dropped[name] = str(error)
        return None


def _read_alone(path: Path, videos: Videos) -> Clip:
    framing = None
    if videos.crop == "face":
        framing = frame_face(find_face(_first_frame(path), f"the first frame of {path}"))
    return read_clip(path, videos.size, framing)


def _read_pair(generated: Path, reference: Path, videos: Videos) -> tuple[Clip, Clip]:
    first = _first_frame(reference)
    (height, width), (high, wide) = _first_frame(generated).shape[:2], first.shape[:2]
    if abs(width * high / (height * wide) - 1) > _ASPECT:
        raise UsageError(
            f"{generated} is {width}x{height} and its reference {wide}x{high}: frames of unlike "
            "shape cannot be compared. Cut both the same way."
        )
    there = here = None
    if videos.crop == "face":
        there = frame_face(find_face(first, f"the first frame of {reference}"))
        scale = height / high
        x, y = there.centre
        here = Framing((x * scale, y * scale), there.side * scale, there.roll)
    return read_clip(generated, videos.size, here), read_clip(reference, videos.size, there)


def _first_frame(path: Path) -> Image:
    return next(read_video(path).frames)


def _cut(clip: Clip, count: int) -> Clip:
    wave = None if clip.wave is None else clip.wave[: count * SAMPLES_PER_FRAME]
    return Clip(clip.frames[:count], wave)


def _expect_some(account: _Account) -> None:
    if not account.generated:
        name, reason = next(iter(account.dropped.items()))
        raise UsageError(
            f"none of {len(account.dropped)} videos could be used. The first, {name}: {reason}"
        )


def _all_that_fit(paired: bool, references: bool, generated: Iterable[Path]) -> list[str]:
    """Names of the metrics that can be built without an argument and have what they need."""
    there = {"pair": paired, "references": references, "audio": all(map(_has_sound, generated))}
    names = []
    for name in METRICS.names():
        arguments = METRICS.signature(name).parameters.values()
        free = all(each.default is not inspect.Parameter.empty for each in arguments)
        needs: Iterable[str] = getattr(METRICS.get(name), "needs", ())
        if free and all(there[need] for need in needs):
            names.append(name)
    return names


def _has_sound(path: Path) -> bool:
    try:
        with open_media(path, "video") as container:
            return bool(container.streams.audio)
    except UsageError:
        return True  # it will be dropped for what it is


def _digest(references: Mapping[str, Path]) -> str | None:
    """One SHA-256 for names and contents of the reference videos that were used."""
    if not references:
        return None
    lines = [f"{name} {fingerprint(path)}\n" for name, path in sorted(references.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
