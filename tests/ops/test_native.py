"""The native modules: what they say of themselves, and how their absence is reported."""

import importlib.machinery
import importlib.util
import os
import subprocess
import sys

import pytest
import torch

import motion_lab
from motion_lab.ops import _native


def test_the_cpu_module_says_what_it_uses():
    assert _native.problem("cpu") is None
    assert _native.cpu().isa() in ("baseline", "avx2", "avx512")


@pytest.mark.skipif(
    importlib.util.find_spec("motion_lab._native_cuda") is None,
    reason="the CUDA module has not been built",
)
def test_the_cuda_module_loads_without_a_gpu_and_says_what_it_is_for():
    module = _native.cuda()
    assert module.compiler.startswith("nvcc ")
    assert module.architectures


def test_an_instruction_set_can_be_lowered_and_restored():
    module = _native.cpu()
    best = module.isa()
    try:
        module.set_isa("baseline")
        assert module.isa() == "baseline"
    finally:
        module.set_isa(best)
    with pytest.raises(ValueError, match="isa must be"):
        module.set_isa("mmx")


def test_the_kernels_share_torchs_openmp_runtime():
    code = (
        "import torch; from motion_lab.ops import _native; _native.cpu();"
        "maps = {l.split()[-1] for l in open('/proc/self/maps') if 'omp' in l.split()[-1]};"
        "print(len({m for m in maps if 'libgomp' in m or 'libomp' in m or 'libiomp' in m}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "1"


@pytest.fixture
def empty_package(tmp_path, monkeypatch):
    """motion_lab as if nothing lay in its folder; returns the folder that stands in for it."""
    monkeypatch.setattr(motion_lab, "__path__", [str(tmp_path)])
    monkeypatch.delenv("MOTION_LAB_NATIVE", raising=False)
    # An editable install has a finder of its own, which knows the real folder.
    monkeypatch.setattr(sys, "meta_path", [importlib.machinery.PathFinder])
    monkeypatch.delitem(sys.modules, "motion_lab._native_cuda", raising=False)
    _native._load.cache_clear()
    yield tmp_path
    _native._load.cache_clear()


def test_a_missing_module_names_itself_the_reason_and_the_command(empty_package):
    with pytest.raises(_native.NativeModuleError, match=r"_native_cuda has not been built"):
        _native._load("_native_cuda")


def test_a_broken_module_is_not_mistaken_for_a_missing_one(empty_package):
    (empty_package / "_native_cuda.py").write_text("import a_library_that_is_not_there")
    with pytest.raises(_native.NativeModuleError, match=r"does not load: .*a_library_that_is"):
        _native._load("_native_cuda")


def test_another_folder_of_modules_can_be_named(empty_package, monkeypatch):
    folder = empty_package / "elsewhere"
    folder.mkdir()
    monkeypatch.setenv("MOTION_LAB_NATIVE", str(folder))
    with pytest.raises(_native.NativeModuleError, match="has not been built"):
        _native._load("_native_cuda")
    (folder / "_native_cuda.py").write_text("here = True")
    assert _native._load("_native_cuda").here


@pytest.mark.skipif(
    "asan" not in os.environ.get("MOTION_LAB_NATIVE", ""), reason="only under make asan"
)
def test_the_sanitizer_sees_what_the_kernels_do():
    code = (
        "import torch; from motion_lab.ops import _native;"
        "x, z = torch.zeros(1, 1, 64), torch.zeros(1, 1, 65); p = _native.pack;"
        "lie = (x.data_ptr(), 0, (1, 1, 65), (65, 65, 1));"
        "A, B, last = torch.zeros(1, 1), torch.zeros(1, 1, 1, 65), torch.zeros(1, 1, 1);"
        "_native.cpu().selective_scan_forward([lie, p(z), p(A), p(B), p(B), *[None] * 5],"
        " [p(z), p(last), None], False, False, 1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
    assert "csrc/selective_scan" in done.stderr


def test_ops_need_torch_and_no_other_dependency():
    code = (
        "import sys; import motion_lab.ops;"
        "heavy = {'av', 'cv2', 'diffusers', 'einops', 'omegaconf', 'rich', 'skimage', 'typer'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_tensor_crosses_with_its_address_sizes_and_strides():
    tensor = torch.zeros(3, 4, dtype=torch.bfloat16).t()
    assert _native.pack(tensor) == (tensor.data_ptr(), 2, (4, 3), (1, 4))
    assert _native.pack(None) is None
