"""Output files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from motion_lab.errors import MotionLabError, UsageError

_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNFINISHED = ".motion-lab-*.part"


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` for the caller to write to.

    When the block ends, the temporary file takes the place of `path` in one step; when it raises
    (Ctrl-C included), it is removed and whatever was at `path` before stays as it was.

    Raises UsageError where the folder is missing or refuses new files, and MotionLabError where
    the disk is full.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not an ordinary file: give the name of a file to write.")
    if not path.parent.is_dir():
        raise UsageError(
            f"{path} cannot be written: there is no folder {path.parent}. Create it or choose "
            "another place."
        )
    temporary = path.parent / _UNFINISHED.replace("*", secrets.token_hex(6))
    try:
        with clear_write_errors(path):
            temporary.touch(exist_ok=False)
            permissions = temporary.stat().st_mode
        yield temporary
        with clear_write_errors(path):
            # Some writers (safetensors) make a file of their own that only its owner may read.
            temporary.chmod(permissions)
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left of :func:`whole_file`, where nobody else is writing."""
    for path in folder.glob(_UNFINISHED):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def clear_write_errors(path: str | Path) -> Iterator[None]:
    """Turn an OSError of the block, which writes to `path`, into one that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _NOT_ALLOWED:
            raise UsageError(
                f"{path} cannot be written: the folder {Path(path).parent} is read-only for you. "
                "Choose another place or change its permissions."
            ) from error
        if error.errno in _FULL:
            raise MotionLabError(
                f"{path} was not written: the disk is full or a size limit was reached "
                f"({error.strerror}). Free some space or choose another place."
            ) from error
        raise MotionLabError(
            f"{path} could not be written: {error.strerror or error}. Choose another place."
        ) from error
