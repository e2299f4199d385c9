"""One line on a terminal that says what is being done; nothing where there is no terminal."""

from __future__ import annotations

import shutil
from typing import TextIO


class Progress:
    """Lines printed through it go to standard output, above the line that comes and goes."""

    def __init__(self, stream: TextIO) -> None:
        self.prefix = ""
        self._stream = stream
        self._terminal = stream.isatty()

    def show(self, text: str) -> None:
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\x1b[K{(self.prefix + text)[:width]}")
            self._stream.flush()

    def clear(self) -> None:
        if self._terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def print(self, line: str) -> None:
        self.clear()
        print(line, flush=True)
