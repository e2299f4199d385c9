"""`motion-lab animate` and `motion-lab demo`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from motion_lab.cli.options import Checkpoint, Device, Guidance, Plugin, Steps

if TYPE_CHECKING:
    from motion_lab.inference.animate import Animation


def register(app: typer.Typer) -> None:
    """Add the commands `animate` and `demo`."""
    app.command("animate")(animate)
    app.command("demo")(demo)


def animate(
    portrait: Annotated[
        Path, typer.Argument(help="A picture with a face: JPEG, PNG, WebP, TIFF, ...")
    ],
    audio: Annotated[
        Path | None,
        typer.Argument(help="A recording: WAV, MP3, M4A, ..., or a video for its sound."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT.mp4", help="PORTRAIT.mp4 here if left out."),
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Speak this instead of a recording.")
    ] = None,
    voice: Annotated[
        str, typer.Option(help="Voice of --text: en-us, en-gb+f3, de+m2, ...")
    ] = "en-us",
    idle: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Say nothing for so long: look, blink and breathe."),
    ] = None,
    driving: Annotated[
        Path | None,
        typer.Option(
            metavar="VIDEO",
            help="Move as the person in this video does, counted from its first frame; its sound "
            "is kept where no recording is given.",
        ),
    ] = None,
    motion: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Move as saved by --save-motion.")
    ] = None,
    save_motion: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also save the motion, to use on other portraits."),
    ] = None,
    checkpoint: Checkpoint = "small",
    guidance: Guidance = None,
    steps: Steps = None,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed gives the same video; another, another take.")
    ] = 0,
    head: Annotated[
        float, typer.Option(help="Scale of the head's movement: 0 holds it still, 1 leaves it.")
    ] = 1.0,
    expression: Annotated[
        float, typer.Option(help="Scale of what mouth, brows and gaze do; 1 leaves it.")
    ] = 1.0,
    blinks: Annotated[
        float | None,
        typer.Option(
            metavar="PER_MINUTE", help="Blink so often (people: 15 to 20), not as the model would."
        ),
    ] = None,
    pose: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            metavar="YAW PITCH ROLL",
            help="Start with the head turned to the viewer's right, up and tilted right by so many "
            "degrees from the portrait; with --head 0, stay there.",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="Side of the video; with --full-frame, its longer side. The model's own, or the "
            "photograph's, if left out.",
        ),
    ] = None,
    full_frame: Annotated[
        bool, typer.Option("--full-frame", help="Put the moving face back into the whole picture.")
    ] = False,
    no_crop: Annotated[
        bool,
        typer.Option(
            "--no-crop",
            help="The picture is cut to head and shoulders already: look for no face in it.",
        ),
    ] = False,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """A portrait and a recording become a video of that person speaking.

    Example: `motion-lab animate portrait.jpg speech.wav -o talking.mp4`

    Without a recording: `motion-lab animate portrait.jpg --text "Good morning!"`
    """
    from rich.console import Console

    import registry
    from motion_lab.inference import animate as inference
    from motion_lab.inference.controls import Controls
    from motion_lab.inference.stages import Stages

    for path in plugin or []:
        registry.load_plugin(path)
    job = inference.Job(
        portrait=portrait,
        output=output or Path(portrait.with_suffix(".mp4").name),
        audio=audio,
        text=text,
        voice=voice,
        idle=idle,
        driving=driving,
        motion=motion,
        save_motion=save_motion,
        checkpoint=checkpoint,
        guidance=guidance,
        steps=steps,
        seed=seed,
        controls=Controls(head, expression, blinks, pose),
        size=size,
        full_frame=full_frame,
        crop=not no_crop,
        device=device,
    )
    _print_made(inference.animate(job, stages=Stages(Console(stderr=True))))


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.mp4", help="The video to make.")
    ] = Path("out/demo.mp4"),
    checkpoint: Checkpoint = "small",
    device: Device = "auto",
) -> None:
    """Make a first video from a public-domain photograph and a spoken sentence.

    A contact sheet of its frames, a PNG of the same name, is laid beside it.

    Example: `motion-lab demo -o out/demo.mp4`
    """
    from rich.console import Console

    from motion_lab.inference.demo import demo as make
    from motion_lab.inference.stages import Stages

    made, sheet = make(
        output, checkpoint=checkpoint, device=device, stages=Stages(Console(stderr=True))
    )
    _print_made(made)
    typer.echo(f"{sheet}: a contact sheet of it")


def _print_made(made: Animation) -> None:
    height, width = made.size
    typer.echo(
        f"{made.path}: {made.frames / 25:.1f} s, {made.frames} frames of {width}x{height}, made in "
        f"{sum(made.seconds.values()):.1f} s"
    )
    for stage, seconds in made.seconds.items():
        typer.echo(f"  {seconds:6.1f} s  {stage}")
