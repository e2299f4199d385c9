"""The report of what CUDA kernels take: parsed text, real compilations, NVIDIA's own calculator."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.commands import kernels
from benchmarks.harness import ptxas
from benchmarks.harness.occupancy import MULTIPROCESSORS, occupancy
from motion_lab import _toolchain
from motion_lab.errors import MotionLabError, UsageError

ROOT = Path(__file__).resolve().parents[2]
NVCC = _toolchain.find_nvcc()
needs_nvcc = pytest.mark.skipif(NVCC is None, reason="no nvcc")

# As nvcc 13.0 prints them, with the names made shorter.
PTXAS = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z4spill' for 'sm_90'
ptxas info    : Function properties for _Z4spill
    224 bytes stack frame, 384 bytes spill stores, 220 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 224 bytes cumulative stack size, 536 bytes smem
ptxas info    : Compile time = 22.496 ms
ptxas info    : Function properties for _Z6helper
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Compiling entry function '_Z5clean' for 'sm_90'
ptxas info    : Function properties for _Z5clean
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers, 2232 bytes cmem[0]
"""

PTX = """\
.extern .shared .align 16 .b8 _ZN7dynamicE[];
.entry _Z4spill(
	.param .u64 _Z4spill_param_0
)
.maxntid 32, 4, 2
.minnctapersm 5
{
	mov.u32 	%r4, _ZN7dynamicE;
}
.entry _Z5clean(
	.param .u64 _Z5clean_param_0
)
{
	.shared .align 4 .b8 _ZZ5cleanE6staged[528];
}
"""

SPILLING = """\
namespace motion_lab::planted::cuda {
namespace {
struct AVeryLongNameOfASpillingType {};
template <class T, int kValues>
__global__ void __launch_bounds__(1024) greedy(const float* in, float* out) {
  float v[kValues];
  for (int i = 0; i < kValues; ++i) v[i] = in[i * 1024 + threadIdx.x];
  __syncthreads();
  for (int turn = 0; turn < kValues; ++turn) {
    float sum = 0;
    for (int i = 0; i < kValues; ++i) sum += v[i] = v[i] * v[(i + 1) % kValues] + sum;
    out[turn * 1024 + threadIdx.x] = sum;
  }
}
__global__ void unbounded(float* out) {
  extern __shared__ float staged[];
  staged[threadIdx.x] = out[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = staged[blockDim.x - 1 - threadIdx.x];
}
}  // namespace
void run(float* data) {
  greedy<AVeryLongNameOfASpillingType, 100><<<1, 1024>>>(data, data);
  unbounded<<<1, 64, 256>>>(data);
}
}  // namespace motion_lab::planted::cuda
"""


def report(*arguments):
    """Exit status of the command with these arguments."""
    parser = argparse.ArgumentParser()
    kernels.add_parser(parser.add_subparsers())
    args = parser.parse_args(["kernels", *arguments])
    return args.run(args)


def test_registers_spills_stack_and_shared_memory_are_read_from_ptxas():
    found = ptxas.parse_resources(PTXAS)
    assert found["_Z4spill"] == ptxas.Resources(64, 384, 220, 224, 536)
    assert found["_Z5clean"] == ptxas.Resources(32, 0, 0, 0, 0)


def test_spills_of_a_device_function_that_was_not_inlined_are_read_too():
    assert ptxas.parse_resources(PTXAS)["_Z6helper"] == ptxas.Resources(None, 4, 12, 8, 0)


def test_launch_bounds_and_dynamic_shared_memory_are_read_from_ptx():
    assert ptxas.parse_ptx(PTX) == {
        "_Z4spill": ptxas.Entry(threads=256, dynamic_shared=True),
        "_Z5clean": ptxas.Entry(threads=None, dynamic_shared=False),
    }


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("void ns::cuda::(anonymous namespace)::scan<32, 4>(ns::Inputs, float*)", "scan<32, 4>"),
        ("ns::plain(int (*)(ns::T))", "plain"),
        ("void ns::take<ns::Taps<(ns::Mode)1, true>, 2>(ns::T)", "take<Taps<(Mode)1, true>, 2>"),
    ],
)
def test_names_are_shortened_to_what_tells_kernels_apart(name, short):
    assert ptxas.short_name(name) == short


def test_the_report_is_about_the_code_that_cmake_builds():
    cmake = (ROOT / "CMakeLists.txt").read_text()
    assert ptxas.OPTIONS[0] == "-std=c++17"
    assert "set(CMAKE_CUDA_STANDARD 17)" in cmake
    assert f'set(CMAKE_CUDA_FLAGS_RELEASE "{" ".join(ptxas.OPTIONS[1:])}")' in cmake


def test_unknown_ops_and_architectures_are_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"'nosuch'.* There are: .*selective_scan"):
        report("nosuch")
    with pytest.raises(UsageError, match=r"'91' in --arch.* 80, 86, 87, 89, 90"):
        report("--arch", "80,91")


def test_without_a_compiler_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(_toolchain, "find_nvcc", lambda: None)
    with pytest.raises(MotionLabError, match=r"pip install 'motion-lab\[nvcc\]'"):
        report()


def test_the_command_line_reports_wrong_use_in_one_paragraph():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "kernels", "nosuch"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "'nosuch'" in done.stderr
    assert "Traceback" not in done.stderr


@needs_nvcc
def test_no_kernel_of_the_project_spills(tmp_path, capsys):
    assert report("--check", "--json", str(tmp_path / "report.json")) == 0
    functions = json.loads((tmp_path / "report.json").read_text())["functions"]
    ops = {path.parent.name for path in (ROOT / "csrc").glob("*/cuda*.cu")}
    assert {function["op"] for function in functions} == ops
    assert {function["arch"] for function in functions} == {"80", "90"}
    for function in functions:
        assert 8 <= function["registers"] <= 255
        assert function["threads"] % 32 == 0
        assert 0 < function["occupancy"]["percent"] <= 100
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, printed)) <= 120
    assert not [line for line in printed if line.startswith(("Spills", "No launch bounds"))]


@pytest.fixture
def planted(tmp_path, monkeypatch):
    folder = tmp_path / "csrc" / "planted"
    folder.mkdir(parents=True)
    (folder / "cuda.cu").write_text(SPILLING)
    monkeypatch.setattr(kernels, "CSRC", folder.parent)
    return folder / "cuda.cu"


@needs_nvcc
def test_a_spilling_kernel_fails_the_check_and_is_named(planted, capsys):
    assert report("--check", "--arch", "90") == 1
    assert (
        "Spills: greedy<AVeryLongNameOfASpillingType, 100> in planted/cuda.cu, sm_90, stores"
        in capsys.readouterr().out
    )


@needs_nvcc
def test_a_long_name_has_a_line_of_its_own(planted, capsys):
    report("--arch", "90")
    assert "  greedy<AVeryLongNameOfASpillingType, 100>" in capsys.readouterr().out.splitlines()


@needs_nvcc
def test_without_the_check_a_spill_is_only_told(planted, capsys):
    assert report("--arch", "90") == 0
    assert "Spills: greedy<AVery" in capsys.readouterr().out


@needs_nvcc
def test_what_the_compiler_cannot_know_is_said(planted, capsys):
    report("--arch", "80,90")
    printed = capsys.readouterr().out.splitlines()
    assert len([line for line in printed if line.startswith("No launch bounds: unbounded")]) == 1
    assert [line for line in printed if line.startswith("Dynamic shared memory: unbounded")]


@needs_nvcc
def test_a_file_that_does_not_compile_fails_with_the_message_of_the_compiler(planted):
    planted.write_text("void broken( {")
    with pytest.raises(MotionLabError, match=r"(?s)cuda.cu does not compile for sm_80.*error"):
        report()


CALCULATOR = """\
#include <cuda_occupancy.h>
#include <cstdio>
// Reads lines "major minor warps shared_per_sm threads registers shared"; prints the blocks and the
// limiting resources as a bit field, -1 where the calculator refuses.
int main() {
  cudaOccDeviceProp sm;
  sm.maxThreadsPerBlock = 1024;
  sm.regsPerBlock = sm.regsPerMultiprocessor = 65536;
  sm.warpSize = 32;
  sm.numSms = 1;
  sm.sharedMemPerBlock = 48 * 1024;
  sm.reservedSharedMemPerBlock = 1024;
  const cudaOccDeviceState state;
  int warps, threads, registers;
  size_t shared;
  while (std::scanf("%d %d %d %zu %d %d %zu", &sm.computeMajor, &sm.computeMinor, &warps,
                    &sm.sharedMemPerMultiprocessor, &threads, &registers, &shared) == 7) {
    sm.maxThreadsPerMultiprocessor = warps * 32;
    sm.sharedMemPerBlockOptin = sm.sharedMemPerMultiprocessor - 1024;
    cudaOccFuncAttributes kernel;
    kernel.maxThreadsPerBlock = threads;
    kernel.numRegs = registers;
    kernel.sharedSizeBytes = shared;
    kernel.numBlockBarriers = 0;  // not counted by ours
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &sm, &kernel, &state, threads, 0))
      std::printf("-1 0\\n");
    else
      std::printf("%d %u\\n", result.activeBlocksPerMultiprocessor, result.limitingFactors);
  }
}
"""
CALCULATOR_BITS = {"warps": 1, "registers": 2, "shared": 4, "blocks": 8}


@pytest.fixture(scope="module")
def calculator(tmp_path_factory):
    """NVIDIA's occupancy calculator: lines of numbers to (blocks, limiting bits)."""
    folder = tmp_path_factory.mktemp("occupancy")
    (folder / "main.cpp").write_text(CALCULATOR)
    command = [str(NVCC), "-cudart=none", "-o", str(folder / "main"), str(folder / "main.cpp")]
    subprocess.run(command, check=True, capture_output=True)

    def ask(rows):
        text = "\n".join(" ".join(map(str, row)) for row in rows)
        done = subprocess.run(
            [str(folder / "main")], input=text, capture_output=True, text=True, check=True
        )
        return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]

    return ask


def calculator_row(arch, threads, registers, shared, spare=0):
    sm = MULTIPROCESSORS[arch]
    return (arch[:-1], arch[-1], sm.warps, sm.shared_bytes + spare, threads, registers, shared)


@needs_nvcc
@pytest.mark.parametrize("arch", MULTIPROCESSORS)
def test_occupancy_is_that_of_nvidias_calculator(arch, calculator):
    cases = [
        (threads, registers, shared)
        for threads in (1, 32, 33, 64, 96, 128, 160, 256, 384, 512, 768, 1024)
        for registers in (16, 24, 31, 32, 33, 40, 63, 64, 72, 95, 96, 128, 168, 255)
        for shared in (0, 1, 536, 1024, 4256, 8192, 12289, 16384, 32768, 49152)
    ]
    truth = calculator([calculator_row(arch, *case) for case in cases])
    for case, (blocks, limits) in zip(cases, truth, strict=True):
        ours = occupancy(arch, *case)
        assert ours.blocks == blocks, case
        assert ours.warps == blocks * -(-case[0] // 32)
        if blocks:
            assert sum(CALCULATOR_BITS[name] for name in ours.limited_by) == limits, case


@needs_nvcc
@pytest.mark.parametrize("arch", MULTIPROCESSORS)
def test_shared_memory_is_the_largest_that_nvidias_calculator_knows(arch, calculator):
    rows = [calculator_row(arch, 32, 32, 0), calculator_row(arch, 32, 32, 0, spare=1)]
    (blocks, _), refused = calculator(rows)
    assert blocks > 0
    assert refused == (-1, 0)
