"""`motion-lab ablate`: variants × seeds, trained and scored alike, answered by a table."""

from pathlib import Path
from typing import Annotated

import typer

from motion_lab.cli.options import Device, Plugin


def register(app: typer.Typer) -> None:
    """Add the command `ablate`."""
    app.command("ablate")(ablate)


def ablate(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE.yaml|PRESET",
            help="The table's file, or a preset: stage1, table4, extractors, backbones.",
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Settings for every cell, over the table's own, such as training.steps=100.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where cells and tables go; runs/ablation-TABLE if left out.",
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=1, metavar="N", help="Cells at a time, a process each."),
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            metavar="N",
            help="CPU threads of a cell; if left out, the processors divided by --jobs, with --ray "
            "one.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="auto|local|HOST:PORT",
            help="Run cells on a Ray cluster instead: the one this machine belongs to, one made "
            "for the purpose on this machine, or the one at that address.",
        ),
    ] = None,
    listing: Annotated[
        bool,
        typer.Option("--list", help="Show the cells and what of them is done; train nothing."),
    ] = False,
    evaluate_again: Annotated[
        bool,
        typer.Option(
            "--evaluate-again",
            help="Score trained cells anew, without training them: after a metric was added.",
        ),
    ] = False,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """Train and score variants of a model, each with several seeds, and compare them.

    A table's file says what varies; everything else is shared:

    ```yaml
    title: Which extractor?
    stage: motion                  # or base
    config: tiny                   # preset or file that every cell starts from
    settings: {training.steps: 600}
    axes:                          # every combination is a row …
      model.extractors: {Mamba-l: [mamba_l], no audio: [none]}
    rows: {}                       # … of each of these, if there are any
    seeds: [0, 1, 2]
    minutes: 10                    # at most, for one cell
    evaluation: {sentences: 16}    # with stage base: identities
    metrics: {jaw_r: higher, jitter: lower}
    ```

    Every cell (row × seed) is trained and scored in a folder and a process of its own. Stop with
    Ctrl-C, or kill it: the same command goes on where it was. A cell that fails is named in the
    table, with its last words, and tried again by the next run; the exit code is then 1.

    The folder gets `table.md` (means ± standard deviation, paired tests against the first row),
    `table.csv`, `cells.csv`, `table.tex` and `table.png`.

    Example: `motion-lab ablate stage1 --jobs 2 -o runs/stage1`
    """
    import registry
    from motion_lab.device import resolve_device
    from motion_lab.evaluation.ablation.command import list_cells, run_table

    for path in plugin or []:
        registry.load_plugin(path)
    folder = output or Path("runs") / f"ablation-{Path(table).stem}"
    if listing:
        list_cells(table, settings or [], folder)
        return
    finished = run_table(
        table,
        settings or [],
        folder,
        jobs=jobs,
        threads=threads,
        ray=ray,
        # Of a cluster, the machine of a cell decides what it has.
        device=device if ray else str(resolve_device(device)),
        plugins=plugin or [],
        evaluate_again=evaluate_again,
    )
    if not finished:
        raise typer.Exit(1)
