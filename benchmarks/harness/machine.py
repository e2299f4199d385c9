"""What a result was measured on, without the machine's name."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import motion_lab
from motion_lab.ops import NativeModuleError, _native

_ROOT = Path(__file__).resolve().parents[2]


def describe() -> dict[str, Any]:
    """The fields of a `results.Run` that say where and with what it was measured."""
    gpu = torch.cuda.is_available()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "motion_lab": motion_lab.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "openmp": {k: v for k, v in sorted(os.environ.items()) if k.startswith("OMP_")},
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "cpu": _cpu_model(),
        "isa": _from_module("cpu", "isa") or torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "driver": _driver() if gpu else None,
        "compilers": {kind: _from_module(kind, "compiler") for kind in ("cpu", "cuda")},
    }


def _from_module(kind: str, attribute: str) -> str | None:
    """What a native module says of itself, or None where it is not built."""
    try:
        value = getattr(getattr(_native, kind)(), attribute)
    except NativeModuleError:
        return None
    return str(value() if callable(value) else value)


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _driver() -> str | None:
    return _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def _git(*arguments: str) -> str | None:
    return _output("git", "-C", str(_ROOT), *arguments)


def _output(*command: str) -> str | None:
    """The first line that a command prints, or None where it fails or is missing."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.partition("\n")[0].strip() or None
