"""Evaluations of videos, and comparisons of results, as the command line runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from motion_lab.errors import UsageError
from motion_lab.evaluation.results import Result, comparable, markdown, scores_table
from motion_lab.evaluation.videos import Videos, evaluate_videos
from motion_lab.files import whole_file


def report_videos(
    videos: Videos,
    metrics: Sequence[str | Mapping[str, Any]] | None,
    output: Path | None,
    table: Path | None,
    device: torch.device,
) -> Result:
    """Score videos; print, write where asked, and return the result.

    `output` is a JSON file, `table` a Markdown file. What was dropped is said on standard error.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    progress = partial(track, description="Evaluating", console=console)
    result = evaluate_videos(videos, metrics, device, progress)
    for name, reason in result.made["dropped"].items():
        console.print(f"left out {name}: {reason}", markup=False)
    if result.made["unmatched"]:
        names = ", ".join(result.made["unmatched"])
        console.print(f"left out, with no counterpart of that name: {names}", markup=False)
    if result.made["cut_frames"]:
        console.print(f"left out {result.made['cut_frames']} frames that one of a pair has alone")
    for reason in result.made["failed"].values():
        console.print(reason, markup=False)
    _print_scores({"value": result}, table)
    if output is not None:
        result.write(output)
    return result


def report_comparison(files: Sequence[Path], table: Path | None) -> None:
    """Print results that were measured alike side by side; `table` is a Markdown file to write.

    Raises UsageError where they may not be compared.
    """
    stems = [file.stem for file in files]
    names = stems if len(set(stems)) == len(stems) else [str(file) for file in files]
    if len(set(names)) < len(names):
        raise UsageError("a file is named twice; name each result once.")
    results = {name: Result.read(file) for name, file in zip(names, files, strict=True)}
    comparable(results)
    _print_scores(results, table)


def _print_scores(results: Mapping[str, Result], file: Path | None) -> None:
    header, rows = scores_table(results)
    shown = Table(*header)
    for column in shown.columns[1:]:
        column.justify = "right"
    for name, *cells in rows:
        best = (Text(cell.strip("*"), style="bold" if "*" in cell else "") for cell in cells)
        shown.add_row(Text(name), *best)
    Console().print(shown)
    if file is not None:
        with whole_file(file) as unfinished:
            unfinished.write_text(markdown(header, rows))
