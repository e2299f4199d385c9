"""`motion-lab data`: what training and evaluation see."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command `data preview`."""
    group = typer.Typer(no_args_is_help=True, help="Look at the synthetic heads and upper bodies.")
    group.callback()(lambda: None)  # keeps the name of a group's only command
    group.command("preview")(preview)
    app.add_typer(group, name="data")


def preview(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where to write.")
    ] = Path("out/preview"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Other heads for another seed.")] = 0,
    identities: Annotated[
        int, typer.Option("--identities", min=1, help="How many people the sheet shows.")
    ] = 8,
    size: Annotated[
        int, typer.Option("--size", min=16, max=2048, help="Width of the video in pixels.")
    ] = 256,
    bodies: Annotated[
        bool, typer.Option("--bodies", help="Upper bodies that gesture, instead of heads.")
    ] = False,
) -> None:
    """Write a contact sheet of random people and a short video of one that speaks.

    Example: `motion-lab data preview -o out/preview --identities 12`
    """
    from motion_lab.data.synthetic.preview import write_preview
    from motion_lab.data.synthetic.worlds import BODIES, HEADS

    made = write_preview(
        output, seed=seed, identities=identities, size=size, world=BODIES if bodies else HEADS
    )
    typer.echo(f"{made.sheet}\n{made.video}  “{made.text}”")
