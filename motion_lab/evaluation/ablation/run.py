"""Go through a plan's cells: data first, then every cell that is not done, then the tables."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from motion_lab.errors import MotionLabError, UsageError
from motion_lab.evaluation.ablation import folders, tables
from motion_lab.evaluation.ablation.engines import Engine, Job
from motion_lab.evaluation.ablation.plan import Cell, Plan
from motion_lab.evaluation.ablation.plots import plot
from motion_lab.evaluation.ablation.results import Results, gather
from motion_lab.files import whole_file

_LOCK_FILE = ".ablation.lock"
_LOOK_SECONDS = 1.0
MARKDOWN_FILE = "table.md"
PICTURE_FILE = "table.png"


@dataclass(frozen=True)
class Setting:
    """How workers compute: what does not belong to the table."""

    device: str = "cpu"
    threads: int = 1
    """CPU threads of each worker."""
    data_threads: int = 1
    """CPU threads of the one that makes the data, before there are others."""
    plugins: tuple[Path, ...] = ()
    evaluate_again: bool = False
    """Score trained cells anew."""

    def arguments(self) -> tuple[str, ...]:
        """Those of a worker."""
        named = [part for path in self.plugins for part in ("--plugin", str(path.resolve()))]
        return ("--device", self.device, *named)


def ablate(
    plan: Plan,
    folder: Path,
    engine: AbstractContextManager[Engine],
    setting: Setting,
    command: Sequence[str],
) -> Results:
    """Train and evaluate what is missing, and write the tables; after every cell, and at the end.

    Args:
        plan: the table.
        folder: gets a folder a cell, ``table.md``, ``.csv``, ``.tex``, ``.png``, ``cells.csv``.
        engine: where workers run.
        setting: how they compute.
        command: the command line, for the page.

    Raises:
        UsageError: the plan cannot be carried out, the folder belongs to another one, or another
            ablation is at work there.
        MotionLabError: the data could not be made.
        KeyboardInterrupt: after Ctrl-C, when all workers have saved their training.
    """
    require_matplotlib()
    parameters = count_parameters(plan)
    cells = plan.cells(folder)
    for cell in cells:
        folders.refuse_other_training(cell)
    console = Console(stderr=True, highlight=False)
    with _alone(folder):
        for cell in cells:
            folders.set_up(cell, evaluate_again=setting.evaluate_again)
        todo = [cell for cell in cells if not folders.status(cell).scored]
        for cell in todo:
            folders.note_failure(cell, "")  # of an earlier attempt

        def write() -> Results:
            results = gather(plan, cells, parameters)
            _write(results, folder, shlex.join(command))
            return results

        try:
            if todo:
                with engine as workers:
                    _make_data(todo, workers, setting, console)
                    with _Display(cells, console) as display:
                        _train_and_score(todo, workers, setting, plan.table.minutes, display, write)
        except (KeyboardInterrupt, SystemExit):
            console.print("Stopped; what is trained is saved. The same command goes on from there.")
            raise
        return write()


def count_parameters(plan: Plan) -> dict[str, int]:
    """By row; building the models shows, before anything trains, whether they can be built."""
    return {
        label: sum(p.numel() for p in model.parameters())
        for label, model in plan.build_models().items()
    }


def require_matplotlib() -> None:
    """Raise UsageError where plots could not be drawn: not after hours of training."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "an ablation draws its scores, and matplotlib is not installed: "
            "pip install 'motion-lab[eval]'."
        ) from error


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK_FILE).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise UsageError(
                f"another ablation (process {lock.read().strip() or 'unknown'}) is at work in "
                f"{folder}. Wait for it, look at it with --list, or choose another folder with -o."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _make_data(cells: Sequence[Cell], engine: Engine, setting: Setting, console: Console) -> None:
    """Each data set once, before cells meet over it."""
    first: dict[str, Cell] = {}
    for cell in cells:
        if not folders.status(cell).trained:
            first.setdefault(json.dumps(asdict(cell.config.data), sort_keys=True), cell)
    for number, cell in enumerate(first.values(), 1):
        with console.status(f"Making data set {number} of {len(first)} (kept for later runs)"):
            arguments = ("--prepare", *setting.arguments())
            job = Job(cell.folder, arguments, setting.data_threads, None, Path.cwd())
            failure = _result(engine.submit(job))
        if failure:
            raise MotionLabError(f"the data of {cell.name!r} could not be made: {failure}")


def _train_and_score(
    cells: Sequence[Cell],
    engine: Engine,
    setting: Setting,
    minutes: float | None,
    display: _Display,
    write: Callable[[], object],
) -> None:
    futures = {engine.submit(_job(cell, setting, minutes)): cell for cell in cells}
    while futures:
        done, _ = wait(futures, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            cell = futures.pop(future)
            failure = _result(future)
            folders.note_failure(cell, failure)
            display.finished(cell, failure)
            write()
        display.look(futures.values())


def _job(cell: Cell, setting: Setting, minutes: float | None) -> Job:
    return Job(cell.folder, setting.arguments(), setting.threads, minutes, Path.cwd())


def _result(future: Future[str]) -> str:
    try:
        return future.result()
    except Exception as error:  # of the engine: a lost machine, a full disk
        return f"{type(error).__name__}: {error}"


def _write(results: Results, folder: Path, command: str) -> None:
    for name, text in (
        (MARKDOWN_FILE, tables.markdown(results, command, PICTURE_FILE)),
        ("table.csv", tables.summary_csv(results)),
        ("cells.csv", tables.cells_csv(results)),
        ("table.tex", tables.latex(results)),
    ):
        with whole_file(folder / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    with whole_file(folder / PICTURE_FILE) as unfinished:
        plot(results, unfinished)


class _Display:
    """Bars for the whole and for every running cell; lines where there is no terminal."""

    def __init__(self, cells: Sequence[Cell], console: Console) -> None:
        self._console, self._began = console, time.time()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[where]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._cells = len(cells)
        self._done = sum(folders.status(cell).scored for cell in cells)
        self._steps = {cell.name: cell.config.training.steps for cell in cells}
        self._at = {
            cell.name: min(folders.status(cell).step, self._steps[cell.name]) for cell in cells
        }
        self._whole = self._bar.add_task(
            "all cells",
            total=sum(self._steps.values()),
            completed=sum(self._at.values()),
            where=self._count(),
        )
        self._lines: dict[str, TaskID] = {}

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def look(self, cells: Iterable[Cell]) -> None:
        """See how far running cells are."""
        for cell in cells:
            output = cell.folder / folders.OUTPUT_FILE
            if not output.exists() or output.stat().st_mtime < self._began:
                continue  # its turn has not come
            step, steps = folders.logged_step(cell), self._steps[cell.name]
            where = f"step {step}/{steps}" if step < steps else "evaluating"
            if cell.name not in self._lines:
                self._lines[cell.name] = self._bar.add_task(cell.name, total=steps, where="")
            self._bar.update(self._lines[cell.name], completed=step, where=where)
            self._at[cell.name] = step
        self._bar.update(self._whole, completed=sum(self._at.values()))

    def finished(self, cell: Cell, failure: str) -> None:
        """A cell is done, or has failed."""
        self._done += not failure
        if cell.name in self._lines:
            self._bar.remove_task(self._lines.pop(cell.name))
        self._at[cell.name] = self._steps[cell.name]
        self._bar.update(self._whole, completed=sum(self._at.values()), where=self._count())
        words = f"failed: {failure}" if failure else f"done, {self._count()}"
        self._console.print(f"{cell.name}: {words}", markup=False, soft_wrap=True)

    def _count(self) -> str:
        return f"{self._done} of {self._cells} cells done"
