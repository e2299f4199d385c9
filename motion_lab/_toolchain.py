"""Where the CUDA compiler and the GPUs are. Pure standard library: setup.py loads this file too."""

from __future__ import annotations

import ctypes
import os
import shutil
import sysconfig
from pathlib import Path

NVCC_HELP = (
    "Install the CUDA toolkit and put nvcc on PATH (or set CUDA_HOME or CUDACXX), or install the"
    " compiler from PyPI: pip install 'motion-lab[nvcc]'."
)


def find_nvcc() -> Path | None:
    """The CUDA compiler: from CUDACXX, CUDA_HOME, PATH, or the PyPI packages; None if absent."""
    candidates = []
    if os.environ.get("CUDACXX"):
        candidates.append(os.environ["CUDACXX"])
    if os.environ.get("CUDA_HOME"):
        candidates.append(os.path.join(os.environ["CUDA_HOME"], "bin", "nvcc"))
    candidates.append("nvcc")
    candidates.extend(
        os.path.join(sysconfig.get_path(kind), "nvidia", "cu13", "bin", "nvcc")
        for kind in ("purelib", "platlib")
    )
    for candidate in candidates:
        found = shutil.which(candidate)
        if found:
            return Path(found)
    return None


def gpu_architectures() -> list[str]:
    """Compute capabilities of the GPUs present, as "90"; empty without a GPU or its driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    found = set()
    for device in range(count.value):
        digits = []
        for attribute in (75, 76):  # compute capability, major and minor
            value = ctypes.c_int()
            if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device) != 0:
                break
            digits.append(str(value.value))
        if len(digits) == 2:
            found.add("".join(digits))
    return sorted(found)
