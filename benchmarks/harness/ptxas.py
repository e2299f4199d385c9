"""What the CUDA compiler says about kernels: registers, spills, stack, shared memory.

Needs nvcc and no GPU. The compiler's options are those of CMakeLists.txt, so that the report is
about the code that the module gets.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.occupancy import Occupancy, occupancy
from motion_lab.errors import MotionLabError

OPTIONS = ("-std=c++17", "-O3", "-DNDEBUG", "-lineinfo")


@dataclass(frozen=True)
class Function:
    """One function of the machine code: a kernel, or a device function that was not inlined.

    Bytes of stack and spills are a thread's, those of shared memory a block's. `registers` is None
    for a device function: its callers' figures include it. `threads` is None without launch bounds.
    """

    op: str
    file: str
    name: str
    arch: str
    registers: int | None
    spill_store_bytes: int
    spill_load_bytes: int
    stack_bytes: int
    shared_bytes: int
    dynamic_shared: bool
    threads: int | None
    occupancy: Occupancy | None

    @property
    def spills(self) -> bool:
        return self.spill_store_bytes > 0 or self.spill_load_bytes > 0


@dataclass
class Resources:
    """What ptxas -v prints about one function."""

    registers: int | None = None  # printed for kernels only
    spill_store_bytes: int = 0
    spill_load_bytes: int = 0
    stack_bytes: int = 0
    shared_bytes: int = 0


@dataclass
class Entry:
    """What the PTX says about one kernel and ptxas does not repeat."""

    threads: int | None = None
    dynamic_shared: bool = False


def parse_resources(text: str) -> dict[str, Resources]:
    """Mangled name -> resources, from the output of ptxas -v for one architecture."""
    found: dict[str, Resources] = {}
    current = Resources()
    for line in text.splitlines():
        if match := re.search(r"Function properties for (\S+)", line):
            current = found[match[1]] = Resources()
        elif match := re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line
        ):
            current.stack_bytes = int(match[1])
            current.spill_store_bytes = int(match[2])
            current.spill_load_bytes = int(match[3])
        elif match := re.search(r"Used (\d+) registers", line):
            current.registers = int(match[1])
            shared = re.search(r"(\d+) bytes smem", line)
            current.shared_bytes = int(shared[1]) if shared else 0
    return found


def parse_ptx(text: str) -> dict[str, Entry]:
    """Mangled name -> launch bound and use of dynamic shared memory, in the order of the file."""
    dynamic = re.findall(r"\.extern \.shared [^;]*?([\w$]+)\[\]", text)
    entries = {}
    for chunk in re.split(r"\.entry\s+", text)[1:]:
        name = re.split(r"[^\w$]", chunk, maxsplit=1)[0]
        head, _, body = chunk.partition("{")
        bound = re.search(r"\.(?:max|req)ntid\s+([\d, ]+)", head)
        threads = math.prod(int(size) for size in bound[1].split(",")) if bound else None
        entries[name] = Entry(threads, any(array in body for array in dynamic))
    return entries


def demangle(names: list[str]) -> list[str]:
    """C++ names as they are written in the source; c++filt comes with every C++ compiler here."""
    if not names:
        return []
    done = subprocess.run(["c++filt", *names], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def short_name(name: str) -> str:
    """A demangled kernel's name without result, namespaces and arguments: kernel<float, 128>."""
    name = name.replace("(anonymous namespace)::", "")
    depth = 0
    for at, character in enumerate(name):
        depth += (character in "<") - (character in ">")
        if character == "(" and depth == 0:
            name = name[:at]
            break
    return re.sub(r"\w+::", "", name.removeprefix("void "))


def functions(nvcc: Path, sources: list[Path], archs: list[str], include: Path) -> list[Function]:
    """Every kernel of the files, in their order, on every architecture; compiled on all cores.

    Raises MotionLabError with the compiler's own message where a file does not compile.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [
            pool.submit(compile_one, nvcc, source, arch, include)
            for source in sources
            for arch in archs
        ]
        found = [function for job in jobs for function in job.result()]
    order = {(function.file, function.name): at for at, function in reversed([*enumerate(found)])}
    return sorted(found, key=lambda function: order[function.file, function.name])


def compile_one(nvcc: Path, source: Path, arch: str, include: Path) -> list[Function]:
    with tempfile.TemporaryDirectory(prefix="motion-lab-") as folder:
        command = [str(nvcc), *OPTIONS, "-I", str(include), f"-arch=sm_{arch}", "-cubin"]
        command += ["-Xptxas=-v", "--keep", "--keep-dir", folder]
        command += ["-o", f"{folder}/code.cubin", str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise MotionLabError(
                f"{source} does not compile for sm_{arch}; nvcc says:\n{done.stderr}"
            )
        entries = parse_ptx(Path(folder, source.stem + ".ptx").read_text())
    resources = parse_resources(done.stderr)
    # Kernels in the order of the file, then what was not inlined.
    order = [*entries, *(name for name in resources if name not in entries)]
    readable = demangle(order)
    return [
        describe(source, arch, written, resources[name], entries.get(name, Entry()))
        for name, written in zip(order, readable, strict=True)
    ]


def describe(source: Path, arch: str, name: str, used: Resources, entry: Entry) -> Function:
    reachable = None
    if used.registers is not None and entry.threads is not None:
        reachable = occupancy(arch, entry.threads, used.registers, used.shared_bytes)
    return Function(
        op=source.parent.name,
        file=f"{source.parent.name}/{source.name}",
        name=name,
        arch=arch,
        registers=used.registers,
        spill_store_bytes=used.spill_store_bytes,
        spill_load_bytes=used.spill_load_bytes,
        stack_bytes=used.stack_bytes,
        shared_bytes=used.shared_bytes,
        dynamic_shared=entry.dynamic_shared,
        threads=entry.threads,
        occupancy=reachable,
    )


def version(nvcc: Path) -> str:
    """As "13.0.88"."""
    done = subprocess.run([str(nvcc), "--version"], capture_output=True, text=True, check=True)
    match = re.search(r"V([\d.]+)", done.stdout)
    return match[1] if match else done.stdout.strip()
