"""A bank of rendered frame pairs with exact geometry, on disk, for training the base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from motion_lab.data.synthetic.banks import Arrays, Shapes, build_bank
from motion_lab.data.synthetic.parameters import HEAD_POSE, MOTION
from motion_lab.data.synthetic.renderer import flow, render
from motion_lab.data.synthetic.worlds import HEADS, World

# Eight frames a group: 0 rests, 1-4 are posed freely, 5-7 repeat the head pose of 1, 2 and 0 with
# another face and arms not far from theirs. Two people perform every group, so that one can drive
# the other.
FRAMES = 8
PEOPLE = 2
FLOW_SIZE = 64
# (source, driving); differing in pose, in expression alone, and back to rest.
PAIRS = (
    (0, 1), (0, 2), (0, 3), (0, 4), (0, 7), (7, 0), (1, 5), (5, 1), (2, 6), (3, 4), (4, 2), (1, 0),
)  # fmt: skip
WIDE = tuple(PAIRS.index(pair) for pair in ((3, 4), (4, 2)))  # from one free pose to another
_NEAR = 0.3  # of the way to another pose of the arms: about a gesture's stroke
_FORMAT = 2  # of a bank's folder


class PairBank(NamedTuple):
    """Memory-mapped arrays; G groups of :data:`PEOPLE` identities and :data:`FRAMES` frames."""

    frames: np.ndarray  # (G, PEOPLE, FRAMES, S, S, 3) uint8
    regions: np.ndarray  # (G, PEOPLE, FRAMES, 64, 64) uint8, indices of parameters.BODY_REGIONS
    motion: np.ndarray  # (G, FRAMES, P) float32, the world's parameters
    displacement: np.ndarray  # (G, PEOPLE, len(PAIRS), 64, 64, 2) float16, driving → source
    visible: np.ndarray  # (G, PEOPLE, len(PAIRS), 64, 64) uint8, 0 or 255
    depth: np.ndarray  # (G, PEOPLE, FRAMES, 64, 64) float16, as renderer.Frames has it
    landmarks: np.ndarray  # (G, PEOPLE, FRAMES, L, 2) float32, the world's

    @property
    def groups(self) -> int:
        return len(self.frames)


def build_pairs(
    folder: Path, groups: int, size: int, seed: int, threads: int = 1, world: World = HEADS
) -> PairBank:
    """Render the bank into ``folder``, or continue or reopen the one that is there.

    A folder made with other settings is refused with ``UsageError``; group g depends on (seed, g)
    and the world alone, so an interrupted build continues where it stopped.
    """
    settings: dict[str, Any] = {"format": _FORMAT, "groups": groups, "size": size, "seed": seed}
    if world is not HEADS:  # whose banks are older than other worlds
        settings["world"] = world.name
    plane = (FLOW_SIZE, FLOW_SIZE)
    shapes: Shapes = {
        "frames": ((groups, PEOPLE, FRAMES, size, size, 3), np.uint8),
        "regions": ((groups, PEOPLE, FRAMES, *plane), np.uint8),
        "motion": ((groups, FRAMES, len(world.motion)), np.float32),
        "displacement": ((groups, PEOPLE, len(PAIRS), *plane, 2), np.float16),
        "visible": ((groups, PEOPLE, len(PAIRS), *plane), np.uint8),
        "depth": ((groups, PEOPLE, FRAMES, *plane), np.float16),
        "landmarks": ((groups, PEOPLE, FRAMES, len(world.landmarks), 2), np.float32),
    }

    def make(arrays: Arrays, group: int) -> None:
        _render_group(PairBank(**arrays), group, size, seed, threads, world)

    return PairBank(**build_bank(folder, settings, shapes, groups, make))


def sample_group(rng: np.random.Generator, world: World = HEADS) -> np.ndarray:
    """Motion of one group, (FRAMES, P) float32."""
    motion = world.poses(rng, FRAMES)
    head, arms = motion[:, : len(MOTION)], motion[:, len(MOTION) :]
    head[0] *= rng.uniform(0.0, 0.35)
    for frame, like in ((5, 1), (6, 2), (7, 0)):
        head[frame, HEAD_POSE] = head[like, HEAD_POSE]
        arms[frame] = arms[like] + _NEAR * (arms[frame] - arms[like])
    return motion


def _render_group(
    bank: PairBank, group: int, size: int, seed: int, threads: int, world: World
) -> None:
    rng = np.random.default_rng([seed, group])
    motion = sample_group(rng, world)
    bank.motion[group] = motion
    for person in range(PEOPLE):
        identity = world.sample(rng)
        frames = render(identity, motion, size, threads=threads)
        bank.frames[group, person] = frames.image
        step = size // FLOW_SIZE
        centres = (slice(None), slice(step // 2, None, step), slice(step // 2, None, step))
        bank.regions[group, person] = frames.regions[centres]
        bank.depth[group, person] = frames.depth[centres]
        bank.landmarks[group, person] = frames.landmarks
        for index, (source, driving) in enumerate(PAIRS):
            displacement, visible = flow(identity, motion[driving], motion[source], FLOW_SIZE)
            bank.displacement[group, person, index] = displacement
            bank.visible[group, person, index] = np.round(visible * 255)
