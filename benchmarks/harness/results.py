"""Result files: JSON lines, a `Run` first and then a `Row` for each contender at each case.

A file that is being written has ``.partial`` behind its name, and every row is in it as soon as it
was measured: an interrupted run leaves what it had, readable like any other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from motion_lab.errors import UsageError
from motion_lab.files import clear_write_errors

SCHEMA = 1

Status = Literal["measured", "wrong", "failed", "absent"]


@dataclass(frozen=True)
class Run:
    """What all rows of a file have in common: code, machine, limits."""

    schema: int
    date: str
    commit: str | None
    dirty: bool
    motion_lab: str
    python: str
    torch: str
    threads: int
    openmp: dict[str, str]  # settings of the environment, as OMP_PROC_BIND
    cores: int | None
    load: float  # the system's load average as the run began
    cpu: str
    isa: str
    gpu: str | None
    driver: str | None
    compilers: dict[str, str | None]
    quick: bool
    note: str
    limits: dict[str, dict[str, dict[str, Any]]]  # device -> name -> {"rate", "how"}


@dataclass(frozen=True)
class Row:
    """One contender at one case: a time if the result was right, else why there is none.

    measured  ``seconds`` is the median of ``samples``, ``q1`` and ``q3`` are the quartiles
    wrong     ``error`` is too large; there is no time
    failed    it raised what ``note`` says
    absent    it cannot be had, for the reason in ``note``
    """

    op: str
    case: str
    passes: str
    device: str
    dtype: str
    who: str  # "ours" or the peer's name
    status: Status
    note: str = ""
    error: float | None = None  # in units of the largest expected value; None: not finite
    seconds: float | None = None
    q1: float | None = None
    q3: float | None = None
    samples: int = 0
    bytes: int | None = None
    flops: int | None = None
    exps: int | None = None
    limit: str | None = None  # the tightest one
    share: float | None = None  # of that limit, 1 is all of it
    ours_faster: float | None = None  # a peer's seconds divided by ours

    @property
    def key(self) -> tuple[str, ...]:
        """What a row is matched by between files."""
        return self.op, self.case, self.passes, self.device, self.dtype, self.who

    @property
    def spread(self) -> float:
        """The interquartile range in units of the median."""
        assert self.seconds is not None
        assert self.q1 is not None
        assert self.q3 is not None
        return (self.q3 - self.q1) / self.seconds


@dataclass(frozen=True)
class File:
    """A result file as read."""

    path: Path
    run: Run
    rows: list[Row]


def partial(path: Path) -> Path:
    """Where the rows of ``path`` are until it is complete."""
    return path.with_name(path.name + ".partial")


class Writer:
    """Appends to the partial file; see `writing`."""

    def __init__(self, path: Path, run: Run) -> None:
        self._path = path
        self._file = partial(path).open("w", encoding="utf-8")
        self._line({"record": "run", **asdict(run)})

    def row(self, row: Row) -> None:
        self._line({"record": "row", **asdict(row)})

    def _line(self, record: dict[str, Any]) -> None:
        with clear_write_errors(self._path):
            self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


@contextmanager
def writing(path: Path, run: Run) -> Iterator[Writer]:
    """Write ``path``: it appears, or is replaced, when the block ends well.

    Otherwise (Ctrl-C too) what was written remains in `partial(path)`.
    """
    with clear_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = Writer(path, run)
    try:
        yield writer
    finally:
        writer.close()
    with clear_write_errors(path):
        os.replace(partial(path), path)


def read(path: Path) -> File:
    """Read a result file, a partial one too.

    Raises:
        UsageError: there is no such file, or it is something else or of another schema.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not text, so it is no result file.") from None
    if not lines:
        raise UsageError(f"{path}: is empty.")
    try:
        head = _record(lines[0], "run")
        if head.get("schema") != SCHEMA:
            raise UsageError(
                f"{path}: has schema {head.get('schema')}, this version reads {SCHEMA}. Measure"
                " again, or use the version that wrote it."
            )
        run = Run(**_checked(Run, head))
        rows = [Row(**_checked(Row, _record(line, "row"))) for line in lines[1:]]
    except ValueError as error:
        raise UsageError(f"{path}: is no result file of python -m benchmarks: {error}.") from None
    return File(path, run, rows)


def _record(line: str, kind: str) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict) or record.pop("record", None) != kind:
        raise ValueError(f'a line is no "{kind}" record')
    return record


def _checked(kind: type, record: dict[str, Any]) -> dict[str, Any]:
    """The record, if its keys and the types of its values are those of the dataclass."""
    names = {field.name for field in fields(kind)}
    if record.keys() != names:
        wrong = ", ".join(sorted(record.keys() ^ names))
        raise ValueError(f"fields are missing or unknown: {wrong}")
    for name, hint in get_type_hints(kind).items():
        if not _fits(record[name], hint):
            raise ValueError(f"{name} is {record[name]!r}")
    return record


def _fits(value: object, hint: Any) -> bool:
    if hint is Status:
        return value in get_args(Status)
    options = get_args(hint) if isinstance(hint, type(int | None)) else (hint,)
    for option in options:
        plain = getattr(option, "__origin__", option)
        accepted = (int, float) if plain is float else plain
        if isinstance(value, accepted) and (plain is bool or not isinstance(value, bool)):
            return True
    return False
