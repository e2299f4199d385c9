"""How many blocks and warps of a kernel one multiprocessor can hold, from the published limits.

Figures: the CUDA C++ programming guide, "Technical Specifications per Compute Capability", and
NVIDIA's own table in CCCL (cuda/__device/arch_traits.h). How registers and shared memory are
allotted: NVIDIA's calculator, cuda_occupancy.h in every toolkit, which the tests compare with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WARP = 32
REGISTERS_PER_SM = 64 * 1024
SM_PARTITIONS = 4  # a warp lives in one of them, and its registers with it
REGISTER_GRANULARITY = 256  # registers are allotted to a warp in multiples of this
SHARED_GRANULARITY = 128  # bytes
RESERVED_SHARED = 1024  # bytes a block that the driver keeps for itself


@dataclass(frozen=True)
class Multiprocessor:
    """What one multiprocessor of an architecture holds at a time."""

    warps: int
    blocks: int
    shared_bytes: int


MULTIPROCESSORS = {
    "80": Multiprocessor(64, 32, 164 * 1024),
    "86": Multiprocessor(48, 16, 100 * 1024),
    "87": Multiprocessor(48, 16, 164 * 1024),
    "89": Multiprocessor(48, 24, 100 * 1024),
    "90": Multiprocessor(64, 32, 228 * 1024),
    "100": Multiprocessor(64, 32, 228 * 1024),
    "103": Multiprocessor(64, 32, 228 * 1024),
    "110": Multiprocessor(48, 24, 228 * 1024),
    "120": Multiprocessor(48, 24, 100 * 1024),
    "121": Multiprocessor(48, 24, 100 * 1024),
}


@dataclass(frozen=True)
class Occupancy:
    """Resident blocks and warps a multiprocessor, and the resources that allow no more."""

    blocks: int
    warps: int
    percent: float
    limited_by: tuple[str, ...]


def occupancy(arch: str, threads: int, registers: int, shared_bytes: int) -> Occupancy:
    """The theoretical occupancy of blocks of `threads` threads.

    `registers` are a thread's, `shared_bytes` a block's, static and dynamic together. A kernel that
    uses more than one named barrier may reach less: barriers are not counted.
    """
    sm = MULTIPROCESSORS[arch]
    warps = math.ceil(threads / WARP)
    warp_registers = _round_up(max(registers, 1) * WARP, REGISTER_GRANULARITY)
    warps_by_registers = SM_PARTITIONS * (REGISTERS_PER_SM // SM_PARTITIONS // warp_registers)
    allowed = {
        "registers": warps_by_registers // warps,
        "shared": sm.shared_bytes // _round_up(shared_bytes + RESERVED_SHARED, SHARED_GRANULARITY),
        "warps": sm.warps // warps,
        "blocks": sm.blocks,
    }
    blocks = min(allowed.values())
    limited_by = tuple(resource for resource, limit in allowed.items() if limit == blocks)
    return Occupancy(blocks, blocks * warps, 100 * blocks * warps / sm.warps, limited_by)


def _round_up(value: int, granularity: int) -> int:
    return math.ceil(value / granularity) * granularity
