"""Loads the native modules and hands tensors to them.

The modules know nothing of torch: a tensor crosses as ``(address, dtype code, sizes, strides)``. A
module that is missing or broken is never passed over: the first call that needs it raises
:class:`NativeModuleError` with the reason and the command that mends it.

MOTION_LAB_NATIVE names a folder to load them from instead of the package: ``make asan`` keeps other
builds of them there.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.machinery
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

# Before the native modules: they use the OpenMP runtime that torch has loaded.
import torch

from motion_lab.ops._backends import Backend, register

# The codes are those of csrc/common/dtype.h.
_DTYPES = {
    torch.float32: 0,
    torch.float64: 1,
    torch.bfloat16: 2,
    torch.float16: 3,
    torch.int32: 4,
    torch.int64: 5,
    torch.uint8: 6,
    torch.bool: 7,
}

NativeTensor = tuple[int, int, tuple[int, ...], tuple[int, ...]]
Kernels = Callable[[torch.Tensor], tuple[ModuleType, tuple[int, ...]]]
"""From a tensor to the module of its kernels and where they run: cpu_kernels or gpu_kernels."""

_MEND = {
    "_native_cpu": "pip install .  (in a source tree: python setup.py build_ext --inplace)",
    "_native_cuda": "MOTION_LAB_CUDA=1 pip install .  (in a source tree: MOTION_LAB_CUDA=1 python"
    " setup.py build_ext --inplace; it needs nvcc: pip install 'motion-lab[nvcc]')",
    "_native_simt": "make simt  (in a source tree; it is for tests alone)",
}

_LIBRARY = torch.library.Library("motion_lab", "FRAGMENT")
_SIMT_LIBRARY = torch.library.Library("motion_lab_simt", "FRAGMENT")


class NativeModuleError(ImportError):
    """A native module is missing or does not load."""


def cpu() -> ModuleType:
    """The module of the CPU kernels, or :class:`NativeModuleError`."""
    return _load("_native_cpu")


def cuda() -> ModuleType:
    """The module of the CUDA kernels, or :class:`NativeModuleError`."""
    return _load("_native_cuda")


def simt() -> ModuleType:
    """The module that runs the CUDA kernels on the CPU, or :class:`NativeModuleError`."""
    return _load("_native_simt")


def define(
    schema: str,
    *,
    cpu: Callable[..., Any],
    fake: Callable[..., Any],
    gpu: Callable[..., Any] | None = None,
) -> None:
    """Defines a torch.library op of the namespace ``motion_lab``.

    ``cpu`` and ``gpu`` implement it for CPU and CUDA tensors, ``fake`` makes outputs without
    values. An op with ``gpu`` is also one of ``motion_lab_simt``, where that same function runs on
    CPU tensors: it finds its module through :func:`gpu_kernels`.
    """
    name = schema.partition("(")[0]
    implementations = [(_LIBRARY, "CPU", cpu)]
    if gpu is not None:
        implementations += [(_LIBRARY, "CUDA", gpu), (_SIMT_LIBRARY, "CPU", gpu)]
    for library in dict.fromkeys(library for library, _, _ in implementations):
        library.define(schema)
        torch.library.register_fake(f"{library.ns}::{name}", fake, lib=library)
    for library, device, function in implementations:
        library.impl(name, function, device)


def register_simt(op: str, call: Callable[..., Any]) -> None:
    """Adds the backend ``simt``, for tests: ``call`` executes the op's CUDA kernels on the CPU.

    They compute in float32 alone; where a GPU's backend takes the reference for float64, this one
    refuses it.
    """

    def run(*arguments: Any, **options: Any) -> Any:
        tensors = (x for x in arguments if isinstance(x, torch.Tensor))
        if any(x.dtype == torch.float64 for x in tensors):
            raise NotImplementedError(f"{op}'s CUDA kernels compute in float32 alone")
        return call(*arguments, **options)

    register(op, "simt", Backend(run, ("cpu",), lambda device: problem("simt"), automatic=False))


def problem(kind: str) -> str | None:
    """Why the native kernels for "cpu", "cuda" or "simt" cannot be used, or None if they can."""
    try:
        _load(f"_native_{kind}")
    except NativeModuleError as error:
        return str(error)
    return None


def pack(tensor: torch.Tensor | None) -> NativeTensor | None:
    """A tensor as the native modules take it; it must stay alive during the call."""
    if tensor is None:
        return None
    return tensor.data_ptr(), _DTYPES[tensor.dtype], tuple(tensor.shape), tensor.stride()


def cpu_kernels(tensor: torch.Tensor) -> tuple[ModuleType, tuple[int]]:
    """The module of CPU kernels, and where they run: how many threads."""
    return cpu(), (torch.get_num_threads(),)


def gpu_kernels(tensor: torch.Tensor) -> tuple[ModuleType, tuple[int, int]]:
    """The module of CUDA kernels for a tensor, and where they run: device and current stream.

    For a CPU tensor that is the module which runs them on the CPU.
    """
    if not tensor.is_cuda:
        return simt(), (0, 0)
    device = tensor.device.index
    # torch.cuda.current_stream builds an object, at twenty times the cost.
    return cuda(), (device, torch._C._cuda_getCurrentRawStream(device))


@functools.cache
def _load(name: str) -> ModuleType:
    _share_openmp()
    try:
        return _import(f"motion_lab.{name}")
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == f"motion_lab.{name}"
        reason = "has not been built" if missing else f"does not load: {error}"
        raise NativeModuleError(
            f"The native module motion_lab.{name} {reason}. Build it with: {_MEND[name]}."
            ' To do without it, choose motion_lab.ops.use_backend("reference").'
        ) from error


def _import(name: str) -> ModuleType:
    folder = os.environ.get("MOTION_LAB_NATIVE")
    if not folder:
        return importlib.import_module(name)
    spec = importlib.machinery.PathFinder.find_spec(name, [folder])
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"it is not in {folder} (MOTION_LAB_NATIVE)", name=name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _share_openmp() -> None:
    """Makes an OpenMP runtime visible to the native modules, which link none of their own.

    torch makes its own visible to all on import; the rest is for builds of torch that do not.
    """
    if hasattr(ctypes.CDLL(None), "GOMP_parallel"):
        return
    bundled = sorted((Path(torch.__file__).parent / "lib").glob("lib*omp*.so*"))
    for library in [*map(str, bundled), "libgomp.so.1"]:
        try:
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        if hasattr(ctypes.CDLL(None), "GOMP_parallel"):
            return
    raise NativeModuleError(
        "No OpenMP runtime was found beside torch or on the system. Install libgomp"
        " (Debian: apt install libgomp1)."
    )
