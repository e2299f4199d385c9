"""The command ``motion-lab``: parses, calls, prints; no logic.

One module per group of commands, each with ``register(app)``. A module imports nothing but typer
and :mod:`motion_lab.cli.options` at its top; what a command needs is imported inside it, so that
``motion-lab --help`` answers at once.
"""

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, NoReturn

import typer

from motion_lab import __version__
from motion_lab.cli import ablate, animate, components, data, doctor, evaluate, stream, train
from motion_lab.errors import MotionLabError
from motion_lab.memory import keep_freed_memory
from registry import RegistryError

app = typer.Typer(
    name="motion-lab",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"motion-lab {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")
    ] = False,
) -> None:
    """A portrait and a recording become a video of that person speaking.

    Start with `motion-lab demo`, or with your own files:

    `motion-lab animate portrait.jpg speech.wav -o talking.mp4`

    Every command explains itself: `motion-lab animate --help`.
    """


for _module in (animate, stream, data, train, evaluate, ablate, components, doctor):
    _module.register(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong use, 130 stopped by Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    # So that a killed command also leaves its `with` blocks, which remove unfinished files.
    signal.signal(signal.SIGTERM, _terminate)
    keep_freed_memory()
    try:
        app([each for each in given if each != "--debug"], prog_name="motion-lab")
    except MotionLabError as error:
        if debug:
            raise
        _complain(str(error))
        sys.exit(error.exit_code)
    except RegistryError as error:
        if debug:
            raise
        _complain(str(error))
        sys.exit(2)
    except Exception as error:
        if debug:
            raise
        _complain(_explain(error))
        sys.exit(1)
    sys.exit(0)


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)


def _complain(message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text("motion-lab: ", style="bold red").append(message, style="default not bold")
    Console(stderr=True, highlight=False, soft_wrap=True).print(text)


def _explain(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"the system refused: {error}"
    # Compared by name: asking torch for the class would import it for every other error.
    if type(error).__name__ == "OutOfMemoryError":
        return (
            "the GPU has too little memory for this; try a smaller size or batch, or --device cpu"
        )
    if isinstance(error, MemoryError):
        return "this machine has too little memory for this; try a smaller size or batch"
    return (
        f"unexpected {type(error).__name__}: {error} (a fault of Motion Lab's own; the same "
        "command with --debug shows where)"
    )
