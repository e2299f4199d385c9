"""`motion-lab evaluate`: how good a trained model is."""

from pathlib import Path
from typing import Annotated

import typer

from motion_lab.cli.options import Checkpoint, Device, Plugin

Identities = Annotated[
    int, typer.Option("--identities", min=2, metavar="N", help="How many people to evaluate on.")
]
Seed = Annotated[
    int,
    typer.Option("--seed", min=0, help="Which people; each seed is a different held-out crowd."),
]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="OUT.json", help="Write the scores to this file.")
]


def register(app: typer.Typer) -> None:
    """Add the commands `evaluate base` and `evaluate yardsticks`."""
    group = typer.Typer(no_args_is_help=True, help="Measure how good a trained model is.")
    group.command("base")(base)
    group.command("yardsticks")(yardsticks)
    app.add_typer(group, name="evaluate")


def base(
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Evaluate on the held-out synthetic heads.")
    ] = False,
    checkpoint: Checkpoint = "small",
    identities: Identities = 64,
    seed: Seed = 0,
    json: Json = None,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """How well the base model moves people it has never seen, and whether it uses the motion.

    Prints PSNR beside those of copying the source, of a fitted affine map, and of the same model
    given the wrong motion; sharpness, error of the displacement, and linear probes.

    Example: `motion-lab evaluate base --synthetic --checkpoint runs/first --json scores.json`
    """
    import registry
    from motion_lab.device import resolve_device
    from motion_lab.errors import UsageError
    from motion_lab.evaluation.report import report_base

    if not synthetic:
        raise UsageError(
            "evaluate base needs to know on which data: add --synthetic for the held-out "
            "synthetic heads of configs/eval_heads.yaml."
        )
    for path in plugin or []:
        registry.load_plugin(path)
    report_base(checkpoint, identities, seed, json, resolve_device(device))


def yardsticks(identities: Identities = 64, seed: Seed = 0, json: Json = None) -> None:
    """What copying the source and a fitted affine map reach on the held-out synthetic heads.

    Example: `motion-lab evaluate yardsticks --identities 64`
    """
    from motion_lab.evaluation.report import report_yardsticks

    report_yardsticks(identities, seed, json)
