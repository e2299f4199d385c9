"""Builds the native modules through CMake; everything else is in pyproject.toml.

``python setup.py build_ext --inplace`` builds in the source tree, incrementally.
MOTION_LAB_CUDA=1 demands the CUDA module, 0 leaves it out; unset, it is built where an nvcc and a
GPU are found. MOTION_LAB_CUDA_ARCHS="80;90" sets its targets.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def load_toolchain():
    spec = importlib.util.spec_from_file_location(
        "toolchain", ROOT / "motion_lab" / "_toolchain.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


toolchain = load_toolchain()


def cuda_compiler():
    """The nvcc to build the CUDA module with, or None to leave that module out."""
    wish = os.environ.get("MOTION_LAB_CUDA", "")
    if wish not in ("", "0", "1"):
        sys.exit(f"MOTION_LAB_CUDA must be 0, 1 or unset, not {wish!r}.")
    if wish == "0" or (not wish and not toolchain.gpu_architectures()):
        return None
    nvcc = toolchain.find_nvcc()
    if nvcc is None and wish == "1":
        sys.exit(f"MOTION_LAB_CUDA=1, but no nvcc was found. {toolchain.NVCC_HELP}")
    return nvcc


def find_tool(name):
    """A program on PATH, or beside this Python, where pip puts it."""
    return shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))


class CMakeBuild(build_ext):
    """Runs CMake once for all modules, then puts each where setuptools wants it."""

    def finalize_options(self):
        self.nvcc = cuda_compiler()
        names = [extension.name for extension in self.distribution.ext_modules]
        if self.nvcc and "motion_lab._native_cuda" not in names:
            self.distribution.ext_modules.append(Extension("motion_lab._native_cuda", sources=[]))
        super().finalize_options()
        if self.inplace:
            # An editable install builds in a passing folder by itself; in this one it shares the
            # work with `build_ext --inplace`.
            name = f"temp.{self.plat_name}-{sys.implementation.cache_tag}"
            self.build_temp = str(ROOT / "build" / name)

    def build_extensions(self):
        build = Path(self.build_temp).resolve() / "cmake"
        self.run_cmake(build)
        for extension in self.extensions:
            (built,) = build.glob(extension.name.rpartition(".")[2] + "*.so")
            target = Path(self.get_ext_fullpath(extension.name))
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(str(built), str(target))

    def run_cmake(self, build):
        import pybind11

        cmake, ninja = find_tool("cmake"), find_tool("ninja")
        if not cmake or not ninja:
            sys.exit("Building needs cmake and ninja: pip install cmake ninja.")
        options = {
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
            "CMAKE_MAKE_PROGRAM": ninja,
            "MOTION_LAB_CUDA": "ON" if self.nvcc else "OFF",
        }
        environment = dict(os.environ)
        if self.nvcc:
            archs = os.environ.get("MOTION_LAB_CUDA_ARCHS")
            archs = archs or ";".join(f"{a}-real" for a in toolchain.gpu_architectures())
            options["MOTION_LAB_CUDA_ARCHS"] = archs or "80-real;90"
            options["CMAKE_CUDA_COMPILER"] = str(self.nvcc)
            # The PyPI compiler keeps its libraries in lib, where it does not look by itself.
            libraries = self.nvcc.resolve().parents[1] / "lib"
            if libraries.is_dir():
                known = environment.get("LIBRARY_PATH")
                environment["LIBRARY_PATH"] = f"{libraries}:{known}" if known else str(libraries)
        build.mkdir(parents=True, exist_ok=True)
        configure = [cmake, "-S", str(ROOT), "-B", str(build), "-G", "Ninja"]
        configure += [f"-D{key}={value}" for key, value in options.items()]
        if self.nvcc and self.configured_nvcc(build) not in (None, str(self.nvcc)):
            # CMake would drop the options above on the way from one compiler to another.
            configure.append("--fresh")
        for command in (configure, [cmake, "--build", str(build)]):
            try:
                subprocess.run(command, check=True, env=environment)
            except subprocess.CalledProcessError:
                sys.exit("Building the native modules failed; the compiler's message is above.")

    def configured_nvcc(self, build):
        """The nvcc that the build folder is set up for, or None."""
        cache = build / "CMakeCache.txt"
        known = cache.read_text() if cache.exists() else ""
        found = re.search(r"^CMAKE_CUDA_COMPILER:\w+=(.+)$", known, re.MULTILINE)
        return found and found[1]


setup(
    ext_modules=[Extension("motion_lab._native_cpu", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
