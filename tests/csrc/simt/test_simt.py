"""The executor of CUDA kernels on the CPU: right kernels compute what they should, and each kernel
with a fault is stopped, with the fault, the kernel, the thread and the source line named."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import torch

from motion_lab.ops import _native

SOURCES = Path(__file__).parent
BUILD = SOURCES.parents[2] / "build" / "simt"
MODULES = sorted(BUILD.glob("_simt_kernels*.so"))

pytestmark = pytest.mark.skipif(not MODULES, reason="simt has not been built: make simt")


@pytest.fixture(scope="module")
def kernels():
    spec = importlib.util.spec_from_file_location("_simt_kernels", MODULES[0])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(kernels):
    def launch(name, *tensors):
        kernels.run(name, [_native.pack(tensor) for tensor in tensors])
        return tensors[0]

    return launch


def ints(*sizes):
    return torch.full(sizes, -1, dtype=torch.int32)


def test_every_thread_of_every_block_runs_once_with_its_own_indices(run):
    assert run("indices", ints(12, 60)).flatten().tolist() == list(range(720))


def test_exchanges_give_each_lane_what_the_cuda_guide_says(run):
    lanes = torch.arange(32)
    own = 100 + lanes
    expected = [
        own[torch.full_like(lanes, 5)],
        own[lanes // 8 * 8 + 3],
        own[torch.where(lanes < 2, lanes, lanes - 2)],
        own[torch.where(lanes % 16 + 3 < 16, lanes + 3, lanes)],
        own[lanes ^ 9],
        torch.full_like(lanes, sum(1 << i for i in range(0, 32, 3))),
        torch.full_like(lanes, int(own.sum())),
        torch.full_like(lanes, 3),
    ]
    assert torch.equal(run("exchanges", ints(8, 32)).long(), torch.stack(expected))


def test_parts_of_a_warp_exchange_apart_from_each_other(run):
    # The lower half adds up 0 .. 15; the upper one counts its 8 odd lanes; then both are added.
    found = run("exchanges_of_a_part", torch.zeros(32))
    assert found.tolist() == [128.0] * 32


def test_barriers_order_shared_memory(run):
    assert run("block_sum", torch.zeros(3, dtype=torch.float64)).tolist() == [1024 * 1025 / 2] * 3


def test_barriers_count_and_combine(run):
    assert run("barriers_that_count", ints(50)).tolist() == [25 * 100 + 10] * 50


def test_syncwarp_orders_the_memory_of_its_lanes(run):
    expected = [warp * 32 + (lane + 3) % 32 for warp in range(2) for lane in range(32)]
    assert run("warp_rotation", ints(64)).tolist() == expected


def test_atomics_of_all_threads_and_blocks_add_up(run):
    start = torch.zeros(6, dtype=torch.int32)
    assert run("atomics", start).tolist() == [2 * 80, 39, -39, 15, 7, 9]


def test_a_fence_and_a_ticket_let_the_last_block_read_the_others(run):
    assert run("last_block", torch.zeros(6)).tolist() == [1, 2, 3, 4, 10, 4]


def test_sixteen_bit_values_are_those_of_cudas_headers(run):
    x = (0.1 * torch.arange(32)).half()
    expected = x + x.view(16, 2).flip(1).flatten()
    assert torch.equal(run("halves", torch.zeros(32, dtype=torch.float16)), expected)


def test_vectors_are_read_and_written_whole(run):
    x = torch.arange(12.0)
    expected = x.view(3, 4).flip(1).flatten()
    assert torch.equal(run("vectors", x), expected)


def test_elements_of_a_strided_tensor_may_be_touched(run):
    base = torch.zeros(20)
    run("strided", base[3::4])
    assert base.tolist() == [float(i >= 3 and i % 4 == 3) for i in range(20)]


def test_copies_and_the_tensor_cores_product_are_those_of_the_ptx_guide(run):
    draw = torch.Generator().manual_seed(0)
    # Whole numbers, whose sums are exact.
    out, a, b = (torch.randint(-9, 10, (16, n), generator=draw).float() for n in (8, 16, 8))
    used = b.clone()
    used[15, 6:] = 0
    expected = out + a @ used
    assert torch.equal(run("matrix_product", out, a.bfloat16(), b.bfloat16()), expected)


# What the report of each wrong kernel says, besides where.
FAULTS = {
    "barrier_in_a_branch": r"divergent barrier: leaves the kernel, while thread \(0, 0, 0\) waits",
    "two_barriers": r"divergent barrier: thread \(0, 0, 0\) waits at another one",
    "barrier_after_an_exit": "divergent barrier: leaves the kernel",
    "shuffle_outside_the_mask": "mask that does not name its own lane, 16",
    "shuffle_from_a_lane_outside_the_mask": "reads lane 19, which takes no part",
    "shuffle_from_a_lane_that_left": "leaves the kernel, while lane 0 of its warp waits for it",
    "shuffle_from_a_lane_that_is_not_there": "reads lane 20, which takes no part",
    "vote_outside_the_mask": "mask that does not name its own lane, 0",
    "vote_with_a_lane_that_left": "leaves the kernel, while lane 0 of its warp waits for it",
    "exchanges_that_do_not_match": "at another exchange or with another mask, __shfl_sync",
    "exchanges_in_a_circle": "deadlock: waits for lanes that wait at other exchanges",
    "static_shared_index_too_large": r"out of bounds: index 32 of 'float \[32\]'",
    "static_shared_overrun": "overrun: touches 'float' beyond the end of the variable",
    "dynamic_shared_overrun": "writes 4 bytes .* 0 bytes past the end of the dynamic shared memory",
    "unwritten_shared": r"reads 4 bytes of shared staged \+ 28, which no thread of this block has",
    "shared_of_the_block_before": "which no thread of this block has written",
    "read_before_a_barrier": "which no thread of this block has written",
    "read_in_place": r"race: reads 4 bytes of shared staged \+ .*, which thread .* wrote at",
    "write_before_a_barrier": r"race: .* shared staged \+ .*, with no barrier between",
    "two_writers": r"race: writes 4 bytes of shared staged \+ 0, which thread 0 of the block wrote",
    "shuffle_for_a_barrier": "race: reads 4 bytes of shared staged",
    "atomic_beside_a_plain_write": r"race: updates 4 bytes of shared sum \+ 0, which thread 0",
    "blocks_that_share_an_element": "race: writes 4 bytes of element .* which another block wrote",
    "write_of_what_another_block_read": "race: .* which another block has read, with no",
    "misaligned_vector": "misaligned: touches 'struct float4' 4 bytes past a multiple of 16",
    "misaligned_whole_vector": "misaligned: touches 'const struct float4' 4 bytes past a multiple",
    "read_past_the_end": r"reads 4 bytes outside .*: 0 bytes past the end of element \(63\)",
    "write_before_the_start": r"writes 4 bytes outside .*: 4 bytes before element \(0\)",
    "write_between_the_elements": r"writes 4 bytes outside .* past the end of element \(0\)",
    "null_pointer": "writes 4 bytes outside the tensors of the call: at address 0x0",
    "local_of_another_thread": "touches a local variable of another thread",
    "copy_into_what_is_read": r"race: reads 4 bytes of shared staged .* which thread .* wrote at",
    "misaligned_copy": "misaligned: copies 8 bytes at once",
}


def fault_lines(name):
    """Lines of wrong.cu that a kernel's fault may be put down to."""
    lines = (SOURCES / "wrong.cu").read_text().splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith(("__global__", "__device__"))]
    (start,) = (i for i in starts if f" {name}(" in lines[i])
    end = next((i for i in starts if i > start), len(lines))
    return [i + 1 for i in range(start, end) if "// fault" in lines[i]]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_caught_named_and_located(run, name):
    tensor = torch.zeros(128)[::2] if name == "write_between_the_elements" else torch.zeros(64)
    with pytest.raises(RuntimeError) as caught:
        run(name, tensor)
    report = str(caught.value)
    assert report.startswith("simt: ")
    assert re.search(FAULTS[name], report.splitlines()[0]), report
    assert f"kernel: motion_lab::simt_tests::{name}(" in report
    assert re.search(r"block \(\d+, 0, 0\), thread \(\d+, 0, 0\)", report)
    helper = {"static_shared_overrun": "fill"}.get(name, name)
    assert any(f"tests/csrc/simt/wrong.cu:{line}" in report for line in fault_lines(helper)), report


def test_a_fault_is_put_down_to_its_thread_and_block(run):
    with pytest.raises(RuntimeError, match=r"block \(0, 0, 0\), thread \(7, 0, 0\)"):
        run("unwritten_shared", torch.zeros(64))
    with pytest.raises(RuntimeError, match=r"block \(1, 0, 0\)"):
        run("shared_of_the_block_before", torch.zeros(64))


def test_after_a_fault_the_next_launch_runs_as_if_nothing_had_been(run):
    for _ in range(2):
        with pytest.raises(RuntimeError, match="divergent barrier"):
            run("barrier_in_a_branch", torch.zeros(64))
        assert run("warp_rotation", ints(64))[0] == 3


def test_an_overrun_that_the_executor_cannot_see_is_seen_by_address_sanitizer():
    done = subprocess.run(
        [BUILD / "overrun", "static_shared_overrun_elsewhere"], capture_output=True, text=True
    )
    (line,) = fault_lines("fill_somewhere")
    assert done.returncode != 0
    assert "global-buffer-overflow" in done.stderr
    assert f"wrong.cu:{line}" in done.stderr
    assert "kernel: motion_lab::simt_tests::static_shared_overrun_elsewhere(" in done.stderr
    assert "block (0, 0, 0), thread (31, 0, 0)" in done.stderr


def test_every_wrong_kernel_is_tried():
    listed = re.findall(r"KERNEL\((\w+), \d", (SOURCES / "wrong.cu").read_text())
    assert sorted(listed) == sorted([*FAULTS, "static_shared_overrun_elsewhere"])


@pytest.mark.skipif(_native.problem("simt") is not None, reason="simt has not been built")
def test_the_kernels_of_every_op_with_cuda_sources_are_there():
    root = SOURCES.parents[2]
    module = _native.simt()
    for source in sorted((root / "csrc").glob("*/cuda*.cu")):
        assert any(name.startswith(source.parent.name) for name in dir(module)), source
