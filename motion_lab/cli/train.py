"""`motion-lab train`: the two stages, and the networks that measure."""

from pathlib import Path
from typing import Annotated

import typer

from motion_lab.cli.options import Device, Plugin

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="PRESET|FILE.yaml",
        help="Preset (tiny, small, full) or file with sections model, data and training; "
        "small if left out.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        help="The run's folder; runs/STAGE-PRESET if left out.",
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in the folder, exactly.")
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Settings to change, such as training.steps=1000."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands `train base`, `train motion` and `train lab`."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Train stage 1 (base), stage 2 (motion) or a network that measures (lab).",
    )
    group.command("base")(base)
    group.command("motion")(motion)
    group.command("lab")(lab)
    app.add_typer(group, name="train")


def base(
    settings: Settings = None,
    config: Config = None,
    output: Output = None,
    resume: Resume = False,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """Train the base model: a portrait and the motion of a frame become that frame.

    Ctrl-C stops after the step at hand with everything saved; `--resume` goes on from there.

    Example: `motion-lab train base --config tiny -o runs/first training.steps=200`
    """
    _train("base", settings, config, output, resume, device, plugin)


def motion(
    settings: Settings = None,
    config: Config = None,
    output: Output = None,
    resume: Resume = False,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """Train the motion model: speech becomes motion features of a base model.

    Ctrl-C stops after the step at hand with everything saved; `--resume` goes on from there.

    Example: `motion-lab train motion --config tiny -o runs/speech data.base=runs/first`
    """
    _train("motion", settings, config, output, resume, device, plugin)


def lab(
    network: Annotated[
        str | None,
        typer.Argument(
            metavar="NETWORK|FILE.yaml", help="landmarks, sync, features, face or video."
        ),
    ] = None,
    settings: Settings = None,
    output: Output = None,
    resume: Resume = False,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """Train a network that measures heads, on synthetic ones; minutes on a CPU.

    Ctrl-C stops after the step at hand with everything saved; `--resume` goes on from there.

    Example: `motion-lab train lab landmarks -o runs/landmarks`
    """
    from motion_lab.errors import UsageError

    if network and "=" in network:
        settings = [network, *(settings or [])]
        network = None
    if network is None and not (resume and output):
        raise UsageError(
            "name a network: landmarks, sync, features, face or video. Only a run to --resume, "
            "named by -o, knows its own."
        )
    folder = output or Path("runs") / f"lab-{Path(network or '').stem}"
    _train("lab", settings, None if resume else network, folder, resume, device, plugin)


def _train(
    stage: str,
    settings: list[str] | None,
    config: str | None,
    output: Path | None,
    resume: bool,
    device: str,
    plugin: list[Path] | None,
) -> None:
    import registry
    from motion_lab.device import resolve_device
    from motion_lab.training.run import run

    for path in plugin or []:
        registry.load_plugin(path)
    folder = output or Path("runs") / f"{stage}-{Path(config or 'small').stem}"
    run(
        stage,
        folder,
        config=config,
        overrides=settings or [],
        resume=resume,
        device=resolve_device(device),
    )
