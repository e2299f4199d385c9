"""What a long job is doing, how far it is, and where its time went."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[[int, int | None], None]
"""Called with (units done, units in all, or None where nobody knows)."""


class Stages:
    """Times the stages of a job; with a console that is a terminal, shows their progress there."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, *, counted: bool = False) -> Iterator[Advance]:
        """Time the block as ``name``; if ``counted``, it reports progress to what is yielded."""
        with self.clock(name):
            if self.console is None or not self.console.is_terminal:
                yield lambda done, of: None
                return
            columns = [MofNCompleteColumn(), TimeRemainingColumn()] if counted else []
            progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                *columns,
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
            )
            with progress:
                task = progress.add_task(name, total=None)
                yield lambda done, of: progress.update(task, completed=done, total=of)

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Add the block's time to ``name``, and take it from a stage that is under way around."""
        start = time.perf_counter()
        before = sum(self.seconds.values())
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - before
            spent = time.perf_counter() - start - inside
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def note(self, text: str) -> None:
        """Say something that the user should know but that stops nothing."""
        if self.console is not None:
            self.console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
