"""`motion-lab stream`: a portrait that speaks while its sound arrives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from motion_lab.cli.options import Checkpoint, Device, Guidance, Plugin, Steps

_PIECE = 1280  # bytes of sound read at a time: one frame


def register(app: typer.Typer) -> None:
    """Add the command `stream`."""
    app.command("stream")(stream)


def stream(
    portrait: Annotated[
        Path, typer.Argument(help="A picture with a face: JPEG, PNG, WebP, TIFF, ...")
    ],
    look_ahead: Annotated[
        int,
        typer.Option(
            min=0, max=250, help="Frames of 40 ms heard in advance: more sound to go by, but later."
        ),
    ] = 5,
    hop: Annotated[
        int, typer.Option(min=1, max=250, help="Frames drawn together: fewer come sooner.")
    ] = 10,
    checkpoint: Checkpoint = "small",
    guidance: Guidance = None,
    steps: Steps = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives another take.")] = 0,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """Speak while the sound arrives: raw sound in, video out, both through pipes.

    Standard input is mono sound of 16 bits at 16 kHz without a header; standard output is video
    with that sound, in Matroska.

    Example: `ffmpeg -f alsa -i default -f s16le -ar 16000 -ac 1 - | motion-lab stream face.jpg |
    ffplay -fflags nobuffer -`
    """
    import os
    import sys

    import numpy as np

    import registry
    from motion_lab.data.video import LiveWriter
    from motion_lab.device import resolve_device
    from motion_lab.errors import UsageError
    from motion_lab.inference.animate import load_models
    from motion_lab.inference.stream import Stream

    if sys.stdin.isatty() or sys.stdout.isatty():
        raise UsageError(
            "motion-lab stream reads sound from a pipe and writes video to one; see its --help "
            "for an example."
        )
    for path in plugin or []:
        registry.load_plugin(path)
    portrayed = Stream(
        portrait,
        load_models(checkpoint, resolve_device(device)),
        hop=hop,
        look_ahead=look_ahead,
        seed=seed,
        steps=steps,
        guidance=guidance,
    )
    try:
        with LiveWriter(sys.stdout.buffer, portrayed.size) as video:
            while piece := sys.stdin.buffer.read(_PIECE):
                samples = np.frombuffer(piece[: len(piece) // 2 * 2], "<i2")
                wave = samples.astype(np.float32) / np.float32(32768)
                video.hear(wave)
                for frame in portrayed.hear(wave):
                    video.write(frame)
            video.hear(np.zeros(0, np.float32), last=True)
            for frame in portrayed.finish():
                video.write(frame)
    except BrokenPipeError:
        # Nobody watches any more. What is left in Python's own buffer has nowhere to go either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
