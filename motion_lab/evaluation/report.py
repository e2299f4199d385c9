"""Evaluations as the command line runs them: a progress bar, a table and a JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from motion_lab.evaluation.base import evaluate_base, yardsticks
from motion_lab.evaluation.heads import EvalHeads, load_eval_heads
from motion_lab.evaluation.results import Result
from motion_lab.models.weights import BASE_FILE, fingerprint, load_base_model, resolve_checkpoint

_MEANING = {
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
    "identified": "how often the motion feature tells the person",
    "identified_by_chance": "… by guessing",
    "fps": "frames decoded a second, one by one",
}


def report_base(
    checkpoint: str, identities: int, seed: int, output: Path | None, device: torch.device
) -> dict[str, Any]:
    """Evaluate a checkpoint's base model on held-out synthetic heads; print and return the scores.

    `output` is a JSON file to write, with the scores and how they were made. Progress goes to
    standard error.
    """
    model = load_base_model(checkpoint, device)
    heads = load_eval_heads(seed=seed, identities=identities, size=model.image_size)
    scores = evaluate_base(model, track(heads, "Evaluating", console=Console(stderr=True)))
    weights = resolve_checkpoint(checkpoint) / BASE_FILE
    made = {"checkpoint": checkpoint, "sha256": fingerprint(weights), "device": str(device)}
    _print(f"Base model of {checkpoint}", heads, scores)
    _write(output, heads, scores, made)
    return scores


def report_yardsticks(identities: int, seed: int, output: Path | None) -> dict[str, float]:
    """Measure what copying the source and a fitted affine reach; print and return the scores."""
    heads = load_eval_heads(seed=seed, identities=identities)
    scores = yardsticks(track(heads, "Measuring", console=Console(stderr=True)))
    _print("Without any model", heads, scores)
    _write(output, heads, scores, {})
    return scores


def _print(title: str, heads: EvalHeads, scores: Mapping[str, Any]) -> None:
    table = Table(title=f"{title}: {heads}", title_justify="left")
    table.add_column("score")
    table.add_column("value", justify="right")
    table.add_column("meaning", style="dim")
    for name, meaning in _MEANING.items():
        if name in scores:
            table.add_row(name, f"{scores[name]:.3f}", meaning)
    for name, value in scores.get("probe_r2", {}).items():
        table.add_row(f"probe_r2.{name}", f"{value:.3f}", "R² of a linear probe, unseen people")
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
    Result("base", scores, protocol, made).write(output)
