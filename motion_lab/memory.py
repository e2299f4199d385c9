"""How the process keeps its memory."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_GREATEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed, for the next tensor of that size.

    glibc otherwise gives every block above 32 MB, and the top of its heap, back to the system and
    asks for it anew, zeroed page by page: a third of the time of a training step on a CPU. For
    programs; a library should leave its host's memory alone. Returns whether it could.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library than glibc
        return False
    done = [mallopt(each, _GREATEST) for each in (_MMAP_THRESHOLD, _TRIM_THRESHOLD)]
    return all(done)
