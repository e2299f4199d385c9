"""`motion-lab evaluate`: how good a trained model is."""

from pathlib import Path
from typing import Annotated

import typer

from motion_lab.cli.options import Checkpoint, Device, Guidance, Plugin, Steps

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


Markdown = Annotated[
    Path | None,
    typer.Option("--markdown", metavar="OUT.md", help="Write the table to this file."),
]

MetricSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="METRIC.KEY=VALUE",
        help="An argument of a metric, such as its network's file; may be given several times.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the group `evaluate`."""
    group = typer.Typer(no_args_is_help=True, help="Measure how good a model, or any video, is.")
    for command in (base, portrait, motion, recordings, yardsticks, videos, compare):
        group.command(command.__name__)(command)
    app.add_typer(group, name="evaluate")


def base(
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Evaluate on the held-out synthetic heads.")
    ] = False,
    checkpoint: Checkpoint = "small",
    identities: Identities = 64,
    seed: Seed = 0,
    json: Json = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.png",
            help="Also show what goes on inside: displacement, generated pixels, depth, regions.",
        ),
    ] = None,
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
    from motion_lab.evaluation.report import report_base

    _expect_data("base", synthetic, "heads of configs/eval_heads.yaml")
    for path in plugin or []:
        registry.load_plugin(path)
    report_base(checkpoint, identities, seed, json, resolve_device(device), pictures)


def portrait(
    picture: Annotated[
        Path, typer.Argument(metavar="PORTRAIT", help="A photograph or drawing with a face.")
    ],
    sheet: Annotated[
        Path, typer.Option("--sheet", metavar="OUT.png", help="Where the contact sheet goes.")
    ] = Path("portrait.png"),
    checkpoint: Checkpoint = "small",
    json: Json = None,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """How the base model moves a photograph: mouth, eyes, brows and head, on one sheet.

    Two synthetic heads perform, and the portrait gets their motion: each pair of rows shows the
    performer above the portrait. Sharpness says how much of the face's detail survives; whether a
    blink is a blink is for you to judge.

    Example: `motion-lab evaluate portrait me.jpg --sheet me.png`
    """
    import registry
    from motion_lab.device import resolve_device
    from motion_lab.evaluation.report import report_portrait

    for path in plugin or []:
        registry.load_plugin(path)
    report_portrait(checkpoint, picture, sheet, json, resolve_device(device))


def motion(
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Evaluate on the held-out synthetic speakers.")
    ] = False,
    bodies: Annotated[
        bool,
        typer.Option(
            "--bodies", help="Upper bodies that gesture, for a model trained on bodies; not heads."
        ),
    ] = False,
    checkpoint: Checkpoint = "small",
    sentences: Annotated[
        int, typer.Option("--sentences", min=2, metavar="N", help="How many are spoken.")
    ] = 32,
    samples: Annotated[
        int,
        typer.Option(
            "--samples", min=1, metavar="N", help="How often each is generated, from other noise."
        ),
    ] = 2,
    seconds: Annotated[float, typer.Option("--seconds", help="Length of a clip.")] = 4.0,
    seed: Seed = 0,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            metavar="NAME,NAME…",
            help="Which registered metrics to run as well, '' for none. By default those of the "
            "paper's table IV, of bodies FGD, DIV and BAS by optical flow.",
        ),
    ] = None,
    setting: MetricSettings = None,
    steps: Steps = None,
    guidance: Guidance = None,
    json: Json = None,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """How well lips follow voices, sentences and languages that were never trained on.

    Everything is measured in the rendered frames, by a landmark network of its own: whether and
    when the mouth opens with the sounds, whether it shuts in silence, whether samples agree in the
    lips and differ in the head, whether anything trembles. With --bodies also whether hands beat
    time to what is stressed.

    Example: `motion-lab evaluate motion --synthetic --checkpoint runs/talk --json scores.json`
    """
    import registry
    from motion_lab.data.synthetic.worlds import BODIES, HEADS
    from motion_lab.device import resolve_device
    from motion_lab.evaluation.metrics import metric_specs
    from motion_lab.evaluation.report import report_motion
    from motion_lab.evaluation.speakers import EvalSpeakers

    _expect_data("motion", synthetic, "speakers")
    for path in plugin or []:
        registry.load_plugin(path)
    report_motion(
        checkpoint,
        EvalSpeakers(sentences, seconds, seed, BODIES if bodies else HEADS),
        json,
        resolve_device(device),
        samples=samples,
        metrics=metric_specs(metrics, setting or []),
        steps=steps,
        guidance=guidance,
    )


def recordings(
    files: Annotated[
        list[Path], typer.Argument(metavar="RECORDING…", help="Sound or video files of speech.")
    ],
    checkpoint: Checkpoint = "small",
    seed: Seed = 0,
    steps: Steps = None,
    guidance: Guidance = None,
    json: Json = None,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """How lips follow recorded voices, of which nobody knows the jaw, and whether minutes drift.

    Each recording moves a held-out synthetic head; the mouth in the frames is held against the
    loudness of the voice. Of recordings of three minutes and more, the last minute is compared
    with the first, and the joins of the model's windows with the rest.

    Example: `motion-lab evaluate recordings interview.mp3 --json scores.json`
    """
    import registry
    from motion_lab.device import resolve_device
    from motion_lab.evaluation.report import report_recordings

    for path in plugin or []:
        registry.load_plugin(path)
    report_recordings(
        checkpoint, files, seed, json, resolve_device(device), steps=steps, guidance=guidance
    )


def yardsticks(identities: Identities = 64, seed: Seed = 0, json: Json = None) -> None:
    """What copying the source and a fitted affine map reach on the held-out synthetic heads.

    Example: `motion-lab evaluate yardsticks --identities 64`
    """
    from motion_lab.evaluation.report import report_yardsticks

    report_yardsticks(identities, seed, json)


def videos(
    generated: Annotated[
        Path, typer.Argument(metavar="GENERATED", help="A video, or a folder of videos.")
    ],
    reference: Annotated[
        Path | None,
        typer.Argument(metavar="[REFERENCE]", help="The same, of real videos.", show_default=False),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            metavar="NAME,NAME…",
            help="Which metrics (`motion-lab components metrics` lists them). By default all that "
            "need no file and find what they need.",
        ),
    ] = None,
    setting: MetricSettings = None,
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="Compare two sets; names mean nothing.")
    ] = False,
    size: Annotated[
        int, typer.Option("--size", min=32, help="Side of the frames that metrics see, pixels.")
    ] = 256,
    crop: Annotated[
        str,
        typer.Option(
            "--crop",
            metavar="whole|face",
            help="What of a frame counts: its central square, or a portrait framed around the face "
            "found in the reference's first frame.",
        ),
    ] = "whole",
    json: Json = None,
    markdown: Markdown = None,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """Score videos of any system: two files, or two folders paired by file name.

    Names with [lab] use the small networks that ship; the names without, the published ones, from
    files of yours: `--metrics fid --set fid.weights=pt_inception.pth`.

    Example: `motion-lab evaluate videos out/ test/ --metrics 'psnr,lse[lab]' --json ours.json`
    """
    import registry
    from motion_lab.device import resolve_device
    from motion_lab.evaluation.metrics import metric_specs
    from motion_lab.evaluation.report_videos import report_videos
    from motion_lab.evaluation.videos import Videos

    for path in plugin or []:
        registry.load_plugin(path)
    report_videos(
        Videos(generated, reference, not unpaired, size, crop),
        metric_specs(metrics, setting or []),
        json,
        markdown,
        resolve_device(device),
    )


def compare(
    results: Annotated[
        list[Path], typer.Argument(metavar="A.json B.json…", help="Files that --json wrote.")
    ],
    markdown: Markdown = None,
) -> None:
    """Put results side by side, if they were measured alike; else say what differs.

    Example: `motion-lab evaluate compare ours.json theirs.json --markdown table.md`
    """
    from motion_lab.evaluation.report_videos import report_comparison

    report_comparison(results, markdown)


def _expect_data(command: str, synthetic: bool, which: str) -> None:
    from motion_lab.errors import UsageError

    if not synthetic:
        raise UsageError(
            f"evaluate {command} needs to know on which data: add --synthetic for the held-out "
            f"synthetic {which}."
        )
