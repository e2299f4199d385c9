"""Options that several commands share, so that they read and mean the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[
    str,
    typer.Option("--device", metavar="auto|cpu|cuda[:N]", help="Where to compute."),
]
Checkpoint = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        metavar="NAME|FOLDER",
        help="Trained weights: the name of a preset that ships with the package, or a folder with "
        "base.safetensors and motion.safetensors as training writes them.",
    ),
]
Plugin = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="A Python file that registers components of your own; may be given several times.",
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(min=0.0, max=20.0, help="How closely to follow the sound; 1 is plain."),
]
Steps = Annotated[
    int | None, typer.Option(min=1, max=1000, help="Denoising steps: more is slower, finer.")
]
