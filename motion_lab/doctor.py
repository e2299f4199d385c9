"""What this installation has: native modules, what each op will use, GPUs, optional packages."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
from dataclasses import dataclass
from importlib import metadata

import torch

import motion_lab
import motion_lab.ops
import registry
from motion_lab import _toolchain
from motion_lab.ops import _backends, _native

# The packages that benchmarks and tests compare with: import name -> distribution.
PEERS = {
    "mamba_ssm": "mamba-ssm",
    "causal_conv1d": "causal-conv1d",
    "xformers": "xformers",
    "mambapy": "mambapy",
    "transformers": "transformers",
}
# Packages of the optional extras: import name -> (distribution, extra).
OPTIONAL = {
    "espeakng_loader": ("espeakng-loader", "synthetic"),
    "accelerate": ("accelerate", "train"),
    "tensorboard": ("tensorboard", "train"),
    "webdataset": ("webdataset", "train"),
    "torchmetrics": ("torchmetrics", "eval"),
    "matplotlib": ("matplotlib", "eval"),
    "h5py": ("h5py", "pats"),
}


@dataclass(frozen=True)
class Line:
    """One finding. ``good`` is None where a thing is merely absent and nothing is wrong."""

    name: str
    found: str
    good: bool | None = True


@dataclass(frozen=True)
class OpLine:
    """One backend of an op on one type of device; ``problem`` says why it cannot run."""

    op: str
    device: str
    backend: str
    default: bool
    problem: str | None
    note: str


@dataclass(frozen=True)
class Report:
    """What :func:`examine` found; ``healthy`` is False where the main job cannot run."""

    system: list[Line]
    ops: list[OpLine]
    packages: list[Line]
    healthy: bool


def examine() -> Report:
    """Looks at this installation. Imports the peers that are installed, to see whether they do."""
    return Report(
        system=[*_software(), _cpu_module(), *_cuda(), *_plugins()],
        ops=_ops(),
        packages=[*map(_peer, PEERS), *map(_optional, OPTIONAL)],
        healthy=_native.problem("cpu") is None,
    )


def _software() -> list[Line]:
    return [
        Line("Motion Lab", f"{motion_lab.__version__}, Python {platform.python_version()}"),
        Line("machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"),
        Line("torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
    ]


def _cpu_module() -> Line:
    problem = _native.problem("cpu")
    if problem:
        return Line("CPU kernels", problem, good=False)
    module = _native.cpu()
    return Line("CPU kernels", f"{module.isa()}, built by {module.compiler}")


def _cuda() -> list[Line]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(count))
    lines = [Line("GPUs for torch", names or "none", good=True if names else None)]
    problem = _native.problem("cuda")
    if problem:
        # Without a GPU nobody misses the module.
        lines.append(Line("CUDA kernels", problem, good=False if count else None))
    else:
        module = _native.cuda()
        lines.append(Line("CUDA kernels", f"for {module.architectures}, {module.compiler}"))
    nvcc = _toolchain.find_nvcc()
    found = str(nvcc) if nvcc else f"none. {_toolchain.NVCC_HELP}"
    lines.append(Line("nvcc", found, good=True if nvcc else None))
    return lines


def _plugins() -> list[Line]:
    return [
        Line(f"plugin {name}", f"set aside: {reason}", good=False)
        for name, reason in registry.set_aside().items()
    ]


def _ops() -> list[OpLine]:
    return [
        OpLine(
            op=op,
            device=device,
            backend=name,
            default=name == _backends.default(op, device),
            problem=backend.unavailable(device),
            note=backend.notes.get(device, ""),
        )
        for op, entries in _backends.table().items()
        for device in ("cpu", "cuda")
        for name, backend in entries.items()
        if device in backend.devices
    ]


def _peer(module: str) -> Line:
    if importlib.util.find_spec(module) is None:
        return Line(PEERS[module], "not installed (a peer to compare with)", good=None)
    try:
        importlib.import_module(module)
    except Exception as error:  # a peer's broken binary may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Line(PEERS[module], f"does not import: {reason}", good=False)
    return Line(PEERS[module], metadata.version(PEERS[module]))


def _optional(module: str) -> Line:
    distribution, extra = OPTIONAL[module]
    if importlib.util.find_spec(module) is None:
        return Line(distribution, f"not installed: pip install 'motion-lab[{extra}]'", good=None)
    return Line(distribution, metadata.version(distribution))


def plain(report: Report) -> str:
    """The report as lines of text, for where the packages that draw tables are missing."""
    lines = [f"{line.name}: {line.found}" for line in [*report.system, *report.packages]]
    for entry in report.ops:
        says = entry.problem or entry.note
        chosen = " (unasked)" if entry.default else ""
        lines.append(f"{entry.op} on {entry.device}: {entry.backend}{chosen}{says and ': ' + says}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(plain(examine()))
