"""What a run tells: progress bar or lines on the terminal, a log file, TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from motion_lab.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

LOG_FILE = "log.jsonl"


class Journal:
    """Context manager that reports a run.

    Args:
        folder: gets ``log.jsonl``, one JSON object a line, and TensorBoard's events.
        step: steps done before; what an earlier run logged beyond them is dropped.
        steps: steps in all.
    """

    def __init__(self, folder: Path, step: int, steps: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "training writes TensorBoard files, and tensorboard is not installed: "
                "pip install 'motion-lab[train]'."
            ) from error
        _drop_after(folder / LOG_FILE, step)
        self._log = (folder / LOG_FILE).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._steps = steps
        self._job = self._bar.add_task("", total=steps, completed=step, losses="")

    def __enter__(self) -> Journal:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        self._board.close()
        self._log.close()

    def advance(self, step: int, losses: dict[str, float]) -> None:
        """A step is done."""
        self._bar.update(self._job, completed=step, losses=_in_words(losses))

    def losses(self, step: int, means: dict[str, float], rate: float, seconds: float) -> None:
        """Mean losses since the last report, learning rate, and seconds trained in all."""
        for name, value in means.items():
            self._board.add_scalar(f"losses/{name}", value, step)
        self._board.add_scalar("learning_rate", rate, step)
        self._write({"step": step, "seconds": round(seconds, 1), "losses": means})
        if not self._console.is_terminal:
            left = self._bar.tasks[0].time_remaining
            eta = f", {left / 60:.0f} min left" if left else ""
            self.say(f"step {step}/{self._steps}{eta}: {_in_words(means)}")

    def scores(self, step: int, scores: dict[str, float]) -> None:
        """Validation scores."""
        for name, value in scores.items():
            self._board.add_scalar(f"validation/{name}", value, step)
        self._write({"step": step, "scores": scores})
        if scores:
            self.say(f"step {step} validation: {_in_words(scores)}")

    def pictures(self, step: int, pictures: dict[str, Tensor]) -> None:
        """Pictures (3, H, W) in [0, 1]."""
        for name, picture in pictures.items():
            self._board.add_image(name, picture.detach().cpu().clamp(0, 1), step)

    def say(self, text: str) -> None:
        """A line for the user, above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def _write(self, entry: dict[str, object]) -> None:
        self._log.write(json.dumps(entry) + "\n")
        self._log.flush()


def _drop_after(path: Path, step: int) -> None:
    """Drop log entries beyond ``step``, and a last line that was cut off."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except ValueError:
            continue
    path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _in_words(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
