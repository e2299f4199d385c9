"""What the command line asks for: run a table, or list its cells."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from motion_lab.evaluation.ablation import engines, folders, tables
from motion_lab.evaluation.ablation.plan import load_plan
from motion_lab.evaluation.ablation.run import MARKDOWN_FILE, Setting, ablate, count_parameters


def run_table(
    table: str,
    overrides: Sequence[str],
    folder: Path,
    *,
    jobs: int,
    threads: int | None,
    ray: str | None,
    device: str,
    plugins: Sequence[Path],
    evaluate_again: bool,
) -> bool:
    """Carry out a table, print it, and say whether every cell has its scores."""
    plan = load_plan(table, overrides)
    if ray is None:
        engine, processors = engines.local_engine(jobs), os.cpu_count() or 1
        threads = threads or max(1, processors // jobs)
        setting = Setting(device, threads, processors, tuple(plugins), evaluate_again)
    else:
        engine, threads = engines.ray_engine(ray, gpus=int(device.startswith("cuda"))), threads or 1
        setting = Setting(device, threads, threads, tuple(plugins), evaluate_again)
    command = ["motion-lab", "ablate", table, *overrides]
    command += ["--jobs", str(jobs)] if ray is None else ["--ray", ray]
    command += [] if device == "cpu" else ["--device", device]
    command += [part for plugin in plugins for part in ("--plugin", str(plugin))]
    results = ablate(plan, folder, engine, setting, command)
    console = Console()
    shown = Table(box=None)
    header, lines = tables.scores(results)
    # Turned, because a terminal is narrow: a line a score, a column a row.
    turned = [
        [cell.replace("**", "") for cell in line] for line in zip(header, *lines, strict=True)
    ]
    for heading in turned[0]:
        shown.add_column(escape(heading), justify="right" if heading else "left")
    for line in turned[1:]:
        shown.add_row(*map(escape, line))
    console.print(shown)
    unfinished = tables.unfinished(results)
    if unfinished:
        console.print(Markdown(unfinished))
    console.print(f"{folder / MARKDOWN_FILE}", markup=False, highlight=False, soft_wrap=True)
    return not unfinished


def list_cells(table: str, overrides: Sequence[str], folder: Path) -> None:
    """Print the rows of a table, and what is done of each cell."""
    plan = load_plan(table, overrides)
    parameters = count_parameters(plan)
    states: dict[str, list[str]] = {row.label: [] for row in plan.rows}
    failures = []
    for cell in plan.cells(folder):
        folders.refuse_other_training(cell)
        found = folders.status(cell)
        states[cell.row].append(str(found))
        if found.failure:
            failures.append(f"{cell.name} failed: {found.failure}")
    console = Console(highlight=False)
    shown = Table(title=f"{plan.table.title}: {folder}", title_justify="left")
    for heading in ("row", "parameters", *(f"seed {seed}" for seed in plan.table.seeds)):
        shown.add_column(heading)
    shown.add_column("settings", overflow="fold", style="dim")
    for row in plan.rows:
        count = tables.thousands(parameters[row.label])
        settings = escape("\n".join(row.overrides))
        shown.add_row(escape(row.label), count, *states[row.label], settings)
    console.print(shown)
    for failure in failures:
        console.print(failure, markup=False)
