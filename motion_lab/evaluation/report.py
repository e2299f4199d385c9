"""Evaluations as the command line runs them: a progress bar, a table and a JSON file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from motion_lab.data.audio import load_audio
from motion_lab.data.portrait import load_image
from motion_lab.data.synthetic.worlds import HEADS
from motion_lab.evaluation.base import evaluate_base, yardsticks
from motion_lab.evaluation.heads import EvalHeads, load_eval_heads
from motion_lab.evaluation.inside import look_inside
from motion_lab.evaluation.lab import face, landmarks
from motion_lab.evaluation.lab.weights import weights_file
from motion_lab.evaluation.metrics import build_metrics
from motion_lab.evaluation.motion import evaluate_motion
from motion_lab.evaluation.portrait import POSES, evaluate_portrait
from motion_lab.evaluation.recordings import (
    LONG,
    MINUTE,
    follow,
    over_minutes,
    resting_head,
    watch,
)
from motion_lab.evaluation.results import Result
from motion_lab.evaluation.speakers import EvalSpeakers
from motion_lab.files import whole_file
from motion_lab.models.motion_model import MotionModel
from motion_lab.models.weights import (
    BASE_FILE,
    MOTION_FILE,
    fingerprint,
    load_base_model,
    load_motion_model,
    resolve_checkpoint,
)
from registry import METRICS

TABLE_METRICS = ("fid[lab]", "fvd[lab]", "div[lab]", "tgd", "lse[lab]")
"""The columns of the paper's table IV, measured by what ships."""

BODY_METRICS = ("fgd[flow]", "div[flow]", "bas[flow]")
"""What is measured of bodies: how they gesture."""

_SHOWN = 6
"""People on the sheet of `evaluate base --pictures`."""

_BASE_BETTER = {
    "psnr": "higher",
    "psnr_mouth": "higher",
    "psnr_double_motion": "higher",
    "psnr_rest": "higher",
    "ssim": "higher",
    "flow_error": "lower",
}

_BASE_MEANING = {
    "psnr": "PSNR of the model, dB",
    "psnr_copy": "… of the source itself",
    "psnr_affine": "… of the source under the affine map fitted to the target",
    "psnr_oracle_warp": "… of the source's pixels where they really went",
    "psnr_own_motion": "… of the model given the source's own motion feature",
    "psnr_other_motion": "… of the model given another frame's motion feature",
    "psnr_double_motion": "… of the model given another person's, in the same pose",
    "psnr_rest": "PSNR of the model without motion, against the source, dB",
    "psnr_mouth": "PSNR of the model within the mouth, dB",
    "psnr_mouth_copy": "… of the source itself",
    "psnr_mouth_affine": "… of the fitted affine",
    "psnr_mouth_oracle_warp": "… of the source's pixels where they really went",
    "ssim": "structural similarity of the model",
    "ssim_copy": "… of the source itself",
    "ssim_affine": "… of the fitted affine",
    "ssim_oracle_warp": "… of the source's pixels where they really went",
    "sharpness": "gradients in the face, output over driving frame",
    "generated_share": "share of the pixels that is generated",
    "hidden_share": "… that the source does not show",
    "flow_error": "error of the displacement, pixels of a 64-pixel frame",
    "flow_error_zero": "… of no motion at all",
    "depth_r": "correlation of the depth cue with the true depth, on the head",
    "identified": "how often the motion feature tells the person",
    "identified_by_chance": "… by guessing",
    "fps": "frames decoded a second, one by one",
    "probe_r2": "R² of a linear probe, unseen people",
}
_PORTRAIT_MEANING = {
    "psnr_rest": "PSNR of the model without motion, against the portrait, dB",
    "sharpness": "gradients in the face, output over portrait, mean over poses",
    "sharpness_least": "… of the pose that has least",
}
_MOTION_MEANING = {
    "jaw_r": "correlation of the mouth seen with the jaw that made the sounds",
    "jaw_r_by_language": "… by language",
    "jaw_r_true": "… in the true frames: what the measurement allows",
    "jaw_r_shuffled": "… with the jaw of other sentences",
    "jaw_lag_frames": "frames by which the mouth comes late",
    "silence": "the mouth's opening in pauses, as a share of the true one in speech",
    "silence_true": "… in the true frames",
    "lips_agree": "correlation of the mouth between samples of one sentence",
    "div": "how far samples put the head apart, in face sizes",
    "jitter": "power faster than 6 Hz, over that of the true frames: the larger of",
    "jitter_head": "… the head",
    "jitter_mouth": "… the mouth",
    "strokes": "how much faster hands are just before stressed vowels than on them",
    "strokes_true": "… in the true frames",
    "strokes_shuffled": "… with the vowels of other sentences: chance",
    "bas_true": "beat alignment of hands in the true frames",
    "bas_shuffled": "… with the sound of other sentences: chance",
    "face_found": "share of the frames that show a face",
}
_RECORDINGS_MEANING = {
    "envelope_r": "correlation of the mouth seen with the voice's loudness",
    "envelope_r_shuffled": "… with the loudness of other recordings",
    "envelope_lag_frames": "frames by which the mouth comes late",
    "drift": "last minute's mean off the first's, in its deviations, at most",
    "liveliness": "movement in the last minute over that in the first",
    "likeness_first": "cosine with the portrait, in the first minute",
    "likeness_last": "… in the last",
    "likeness_drift": "… by how much it fell, in the first minute's deviations",
    "seam": "acceleration where windows join, over the 99th percentile elsewhere",
}
_MOTION_BETTER = {
    "jaw_r": "higher",
    "silence": "lower",
    "lips_agree": "higher",
    "div": "higher",
    "jitter": "lower",
    "jitter_head": "lower",
    "jitter_mouth": "lower",
    "strokes": "higher",
}


def report_base(
    checkpoint: str,
    identities: int,
    seed: int,
    output: Path | None,
    device: torch.device,
    pictures: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint's base model on held-out synthetic heads; print and return the scores.

    `output` is a JSON file to write, with the scores and how they were made; `pictures` a PNG of
    what goes on inside the model, for the first few people. Progress goes to standard error.
    """
    model = load_base_model(checkpoint, device)
    heads = load_eval_heads(seed=seed, identities=identities, size=model.image_size)
    scores = evaluate_base(model, track(heads, "Evaluating", console=Console(stderr=True)))
    weights = resolve_checkpoint(checkpoint) / BASE_FILE
    made = {"checkpoint": checkpoint, "sha256": fingerprint(weights), "device": str(device)}
    if pictures is not None:
        some = itertools.islice(heads, _SHOWN)
        with whole_file(pictures) as unfinished:
            Image.fromarray(look_inside(model, some)).save(unfinished, format="PNG")
    _print(f"Base model of {checkpoint}: {heads}", scores, _BASE_MEANING)
    _write(output, heads, scores, made)
    return scores


def report_portrait(
    checkpoint: str, portrait: Path, sheet: Path, output: Path | None, device: torch.device
) -> dict[str, float]:
    """Let synthetic heads drive a photograph; write the sheet, print and return the scores."""
    model = load_base_model(checkpoint, device)
    found = evaluate_portrait(model, load_image(portrait))
    with whole_file(sheet) as unfinished:
        Image.fromarray(found.sheet).save(unfinished, format="PNG")
    weights = resolve_checkpoint(checkpoint) / BASE_FILE
    made = {"checkpoint": checkpoint, "sha256": fingerprint(weights), "device": str(device)}
    _print(f"{portrait} moved by the base model of {checkpoint}", found.scores, _PORTRAIT_MEANING)
    if output is not None:
        protocol = {"portrait": fingerprint(portrait), "size": model.image_size, "poses": POSES}
        Result("portrait", found.scores, protocol, made).write(output)
    return found.scores


def report_yardsticks(identities: int, seed: int, output: Path | None) -> dict[str, float]:
    """Measure what copying the source and a fitted affine reach; print and return the scores."""
    heads = load_eval_heads(seed=seed, identities=identities)
    scores = yardsticks(track(heads, "Measuring", console=Console(stderr=True)))
    _print(f"Without any model: {heads}", scores, _BASE_MEANING)
    _write(output, heads, scores, {})
    return scores


def report_motion(
    checkpoint: str,
    speakers: EvalSpeakers,
    output: Path | None,
    device: torch.device,
    *,
    samples: int = 2,
    metrics: Sequence[str | Mapping[str, Any]] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint's motion model on held-out speakers; print and return the scores.

    Args:
        samples: how often each sentence is generated, from different noise.
        metrics: registered metrics to run as well; None for :data:`TABLE_METRICS`, or of bodies
            :data:`BODY_METRICS`.
        output: a JSON file to write, with the scores and how they were made.
    """
    base, model = load_base_model(checkpoint, device), load_motion_model(checkpoint, device)
    usual = TABLE_METRICS if speakers.world is HEADS else BODY_METRICS
    built = build_metrics(usual if metrics is None else metrics, device)
    scores = evaluate_motion(
        base,
        model,
        track(speakers, "Evaluating", console=Console(stderr=True)),
        landmarks.load(device).track,
        samples=samples,
        metrics=built,
        steps=steps,
        guidance=guidance,
    )
    made = _made(checkpoint, model, steps, guidance, device)
    made |= {"counts": scores.pop("counts"), "failed": scores.pop("failed")}
    protocol = {
        **speakers.protocol(),
        "samples": samples,
        "size": base.image_size,
        "landmarks": {"network": "lab", "sha256": fingerprint(weights_file("landmarks"))},
        "metrics": {name: metric.protocol() for name, metric in built.items()},
    }
    better = {name: way for name, way in _MOTION_BETTER.items() if name in scores}
    meaning = dict(_MOTION_MEANING)
    for name, metric in built.items():
        better |= metric.scores
        summary = METRICS.entry(name).summary
        meaning |= {score: f"{summary}; {way} is better" for score, way in metric.scores.items()}
    _print(f"Motion model of {checkpoint}: {speakers}", scores, meaning)
    for reason in made["failed"].values():
        Console(stderr=True).print(reason, markup=False)
    if output is not None:
        Result("motion", scores, protocol, made, better).write(output)
    return scores


def report_recordings(
    checkpoint: str,
    recordings: Sequence[Path],
    seed: int,
    output: Path | None,
    device: torch.device,
    *,
    steps: int | None = None,
    guidance: float | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint on recorded voices, each moving another held-out head.

    Prints and returns the scores; those of long recordings are under their file's name.
    """
    base, model = load_base_model(checkpoint, device), load_motion_model(checkpoint, device)
    waves = [load_audio(path) for path in recordings]
    locate, embed = landmarks.load(device).track, face.load(device).embed
    watched = []
    for index, wave in enumerate(track(waves, "Evaluating", console=Console(stderr=True))):
        portrait = resting_head(seed, index, base.image_size)
        watched.append(
            watch(
                base,
                model,
                portrait,
                wave,
                locate,
                embed,
                steps=steps,
                guidance=guidance,
                seed=index,
            )
        )
    scores: dict[str, Any] = follow(watched)
    long: dict[str, dict[str, float]] = {}
    for path, each in zip(recordings, watched, strict=True):
        if len(each.face.opening) >= LONG * MINUTE:
            for name, value in over_minutes(each, model.window).items():
                long.setdefault(name, {})[path.name] = value
    scores |= long
    _print(f"{checkpoint} on {len(waves)} recordings", scores, _RECORDINGS_MEANING)
    if output is not None:
        made = _made(checkpoint, model, steps, guidance, device)
        protocol = {
            "recordings": {path.name: fingerprint(path) for path in recordings},
            "seed": seed,
            "size": base.image_size,
            "landmarks": {"network": "lab", "sha256": fingerprint(weights_file("landmarks"))},
            "likeness": {"network": "lab", "sha256": fingerprint(weights_file("face"))},
        }
        Result("recordings", scores, protocol, made, {"envelope_r": "higher"}).write(output)
    return scores


def _made(
    checkpoint: str,
    model: MotionModel,
    steps: int | None,
    guidance: float | None,
    device: torch.device,
) -> dict[str, Any]:
    folder = resolve_checkpoint(checkpoint)
    return {
        "checkpoint": checkpoint,
        "base_sha256": fingerprint(folder / BASE_FILE),
        "motion_sha256": fingerprint(folder / MOTION_FILE),
        "steps": model.steps if steps is None else steps,
        "guidance": model.guidance if guidance is None else guidance,
        "device": str(device),
    }


def _print(title: str, scores: Mapping[str, Any], meanings: Mapping[str, str]) -> None:
    """A table: scores with a meaning in the order of the meanings, then the others."""
    table = Table(title=title, title_justify="left")
    table.add_column("score")
    table.add_column("value", justify="right")
    table.add_column("meaning", style="dim")
    for name in [*(m for m in meanings if m in scores), *(s for s in scores if s not in meanings)]:
        value, meaning = scores[name], meanings.get(name, "")
        rows = value if isinstance(value, Mapping) else {"": value}
        for part, number in rows.items():
            row = (f"{name}.{part}" if part else name, f"{number:.3f}", meaning)
            table.add_row(*map(escape, row))
    Console().print(table)


def _write(
    output: Path | None, heads: EvalHeads, scores: Mapping[str, Any], made: Mapping[str, str]
) -> None:
    if output is None:
        return
    protocol = {
        "heads": heads.name,
        "identities": heads.identities,
        "driving_frames": heads.driving_frames,
        "size": heads.size,
        "seed": heads.seed,
    }
    better = {name: way for name, way in _BASE_BETTER.items() if name in scores}
    Result("base", scores, protocol, made, better).write(output)
