"""One cell in a process of its own: ``python -m motion_lab.evaluation.ablation.worker FOLDER``.

The folder says what to do: ``config.yaml`` how to train, ``cell.yaml`` what to evaluate on. A
worker goes on from whatever training state lies there, so it may be killed at any time and started
again. Its standard input is its line to whoever started it: when that closes, it saves and ends.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import registry
from motion_lab.errors import MotionLabError
from motion_lab.files import remove_unfinished
from registry import RegistryError

if TYPE_CHECKING:
    import torch

    from motion_lab.configs.schema import Config

CELL_FILE = "cell.yaml"
SCORES_FILE = "scores.json"
_LOCK_FILE = ".worker.lock"


def main() -> None:
    """Work on the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--plugin", action="append", default=[])
    parser.add_argument("--prepare", action="store_true", help="make the data and nothing else")
    given = parser.parse_args()
    # A terminated worker leaves its `with` blocks, which remove unfinished files.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for path in given.plugin:
            registry.load_plugin(path)
        with _alone(given.folder):
            remove_unfinished(given.folder)
            (prepare if given.prepare else work)(given.folder, given.device)
    except (MotionLabError, RegistryError) as error:
        sys.exit(f"motion-lab: {error}")


def work(folder: Path, device: str) -> None:
    """Train what is not trained yet, evaluate, and leave ``scores.json``."""
    from motion_lab.device import resolve_device
    from motion_lab.training.run import CONFIG_FILE, run
    from motion_lab.training.state import saved_progress

    where = resolve_device(device)
    cell, config = _read(folder)
    saved = saved_progress(folder)
    if saved is None:
        run(config.stage, folder, config=str(folder / CONFIG_FILE), device=where)
    elif saved.step < config.training.steps:
        run(config.stage, folder, resume=True, device=where)
    _evaluate(config.stage, folder, cell["evaluation"], where)


def prepare(folder: Path, device: str) -> None:
    """Make the data that the cell trains on, which a task does as it is built."""
    from motion_lab.device import resolve_device
    from motion_lab.training.run import make_task

    make_task(_read(folder)[1], resolve_device(device))


def _read(folder: Path) -> tuple[dict[str, Any], Config]:
    from motion_lab.configs.loading import load_config
    from motion_lab.training.run import CONFIG_FILE

    cell = yaml.safe_load((folder / CELL_FILE).read_text(encoding="utf-8"))
    return cell, load_config(cell["stage"], folder / CONFIG_FILE)


def _evaluate(stage: str, folder: Path, settings: dict[str, Any], device: torch.device) -> None:
    """What `motion-lab evaluate STAGE --json` does; settings left out are its own."""
    from motion_lab.evaluation.report import report_base, report_motion
    from motion_lab.evaluation.speakers import EvalSpeakers

    given = {name: value for name, value in settings.items() if value is not None}
    seed, output = given.pop("seed"), folder / SCORES_FILE
    if stage == "base":
        report_base(str(folder), given["identities"], seed, output, device)
    else:
        speakers = EvalSpeakers(given.pop("sentences"), given.pop("seconds", 4.0), seed)
        report_motion(str(folder), speakers, output, device, **given)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other worker is at this cell: one whose parent was killed may still save."""
    with (folder / _LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _end_with_parent() -> None:
    while os.read(0, 1):  # not through sys.stdin, which may be asked for as Python ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
