"""The search for the CUDA compiler, and what the build says where there is none."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from motion_lab import _toolchain

ROOT = Path(__file__).resolve().parents[1]


def make_nvcc(path):
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An nvcc in each place where one is looked for, in the order of the search."""
    found = [
        make_nvcc(tmp_path / "cxx" / "nvcc-13"),
        make_nvcc(tmp_path / "home" / "bin" / "nvcc"),
        make_nvcc(tmp_path / "path" / "nvcc"),
        make_nvcc(tmp_path / "site" / "nvidia" / "cu13" / "bin" / "nvcc"),
    ]
    monkeypatch.setenv("CUDACXX", str(found[0]))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sysconfig, "get_path", lambda kind: str(tmp_path / "site"))
    return found


def test_nvcc_is_looked_for_in_the_documented_order(places):
    for nvcc in places:
        assert _toolchain.find_nvcc() == nvcc
        nvcc.unlink()
    assert _toolchain.find_nvcc() is None


def test_architectures_are_listed_only_where_a_driver_is():
    for architecture in _toolchain.gpu_architectures():
        assert architecture.isdigit()


def build(folder, **environment):
    return subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "-b", str(folder), "-t", str(folder)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


in_source_tree = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="not in a source tree")


@in_source_tree
def test_demanding_cuda_without_a_compiler_is_refused_with_the_remedy(tmp_path):
    if Path(sysconfig.get_path("purelib"), "nvidia", "cu13", "bin", "nvcc").exists():
        pytest.skip("this environment has the compiler from PyPI")
    done = build(tmp_path, MOTION_LAB_CUDA="1", PATH=str(tmp_path), CUDACXX="", CUDA_HOME="")
    assert done.returncode == 1
    assert "MOTION_LAB_CUDA=1, but no nvcc was found" in done.stderr
    assert "pip install 'motion-lab[nvcc]'" in done.stderr


@in_source_tree
def test_an_unknown_wish_for_cuda_is_refused(tmp_path):
    done = build(tmp_path, MOTION_LAB_CUDA="yes")
    assert done.returncode == 1
    assert "MOTION_LAB_CUDA must be 0, 1 or unset, not 'yes'" in done.stderr


@in_source_tree
def test_another_compiler_sets_the_build_folder_up_afresh(tmp_path):
    asked = tmp_path / "asked"
    for name in ("cmake", "ninja", "nvcc"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$@" >> {asked}\nexit 1\n')
        (tmp_path / name).chmod(0o755)
    cache = tmp_path / "build" / "cmake" / "CMakeCache.txt"

    def configure(former):
        asked.write_text("")
        cache.write_text(f"CMAKE_CUDA_COMPILER:STRING={former}\n")
        build(
            tmp_path / "build",
            MOTION_LAB_CUDA="1",
            PATH=str(tmp_path),
            CUDACXX=str(tmp_path / "nvcc"),
        )
        return asked.read_text()

    cache.parent.mkdir(parents=True)
    assert "--fresh" in configure(former="/elsewhere/nvcc")
    assert "--fresh" not in configure(former=tmp_path / "nvcc")


@in_source_tree
def test_cmake_and_ninja_are_found_beside_python_where_path_has_none(tmp_path):
    scripts = sysconfig.get_path("scripts")
    if not shutil.which("cmake", path=scripts) or not shutil.which("ninja", path=scripts):
        pytest.skip("cmake and ninja are not installed beside this Python")
    done = build(tmp_path, MOTION_LAB_CUDA="0", PATH=str(tmp_path), CXX="/no/compiler")
    assert "/no/compiler" in done.stderr  # as far as CMake itself
    assert "Building needs cmake" not in done.stderr


@in_source_tree
@pytest.mark.skipif(_toolchain.find_nvcc() is None, reason="no nvcc")
def test_the_cuda_module_compiles_for_several_architectures(tmp_path):
    pybind11 = pytest.importorskip("pybind11")
    nvcc = _toolchain.find_nvcc()
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    libraries = str(nvcc.resolve().parents[1] / "lib")
    environment = {**os.environ, "PATH": path, "LIBRARY_PATH": libraries}
    options = {
        "MOTION_LAB_CUDA": "ON",
        "MOTION_LAB_CUDA_ARCHS": "80-real;90",
        "CMAKE_CUDA_COMPILER": nvcc,
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": pybind11.get_cmake_dir(),
    }
    configure = ["cmake", "-G", "Ninja", "-S", str(ROOT), "-B", str(tmp_path)]
    configure += [f"-D{name}={value}" for name, value in options.items()]
    module = "CMakeFiles/_native_cuda.dir/csrc/bindings/cuda_module.cpp.o"
    for command in (configure, ["ninja", "-C", str(tmp_path), module]):
        subprocess.run(command, check=True, capture_output=True, env=environment)


def gpu_check(tmp_path, failing):
    """make gpu-check with a Python that does nothing, and fails where its arguments say so."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *"{failing}"*) exit 3 ;; esac\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "gpu-check", f"PYTHON={python}", f"OUT={tmp_path / 'out'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (tmp_path / "out" / "report.txt").read_text() in done.stdout
    return done


@in_source_tree
def test_gpu_check_goes_on_after_a_failing_test_and_fails_at_the_end(tmp_path):
    done = gpu_check(tmp_path, failing="-m pytest")
    assert done.returncode != 0
    summary = done.stdout.partition("== summary\n")[2].splitlines()
    said = {line.split()[0]: line.partition(" s  ")[2] for line in summary if " s  " in line}
    assert said == {
        "build": "passed",
        "machine": "passed",
        "gpu": "passed",
        "tests": "FAILED with exit status 3",
        "kernels": "passed",
        "quick": "passed",
        "full": "passed",
    }


@in_source_tree
def test_gpu_check_stops_where_the_build_fails(tmp_path):
    done = gpu_check(tmp_path, failing="build_ext")
    assert done.returncode != 0
    assert "== tests" not in done.stdout


@in_source_tree
def test_gpu_check_passes_where_all_steps_do(tmp_path):
    assert gpu_check(tmp_path, failing="nothing").returncode == 0
