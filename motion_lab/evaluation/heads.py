"""The frozen distribution of held-out synthetic heads: configs/eval_heads.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from motion_lab.data.synthetic.identity import sample_identity
from motion_lab.data.synthetic.motion import sample_poses
from motion_lab.data.synthetic.renderer import flow, render
from motion_lab.ops import warp

HEADS_FILE = Path(__file__).parent.parent / "configs" / "eval_heads.yaml"
FLOW_SIZE = 64


class Head(NamedTuple):
    """One person: a source frame and F - 1 driving frames, with what is true of them."""

    images: Tensor  # (F, 3, S, S) float32 in [0, 1]; the first is the source
    regions: Tensor  # (F, S, S) uint8, indices of data.synthetic.parameters.REGIONS
    motion: Tensor  # (F, 16), data.synthetic.parameters.MOTION
    displacement: Tensor  # (F - 1, 64, 64, 2), from each driving frame to the source
    visible: Tensor  # (F - 1, 64, 64) of 0 and 1: what the source shows
    moved: Tensor  # (F - 1, 3, S, S): the source's pixels where they really went
    double: Tensor  # (F, 3, S, S): another person in the same poses
    depth: Tensor  # (S, S), of the source, in the renderer's unit; 0 = background


@dataclass(frozen=True)
class EvalHeads:
    """A crowd of held-out heads, rendered one by one as it is walked through."""

    name: str
    size: int
    seed: int
    identities: int
    driving_frames: int
    samples: int
    world: int  # first number of every person's random stream

    def __len__(self) -> int:
        return self.identities

    def __iter__(self) -> Iterator[Head]:
        return (self.head(person) for person in range(self.identities))

    def __str__(self) -> str:
        return (
            f"{self.name}, {self.identities} people × {self.driving_frames} driving frames at "
            f"{self.size}², seed {self.seed}"
        )

    def head(self, person: int) -> Head:
        """Person number `person`: depends on the file, the seed and that number alone."""
        rng = np.random.default_rng([self.world, self.seed, person])
        identity = sample_identity(rng)
        motion = sample_poses(rng, 1 + self.driving_frames)
        threads = torch.get_num_threads()
        own, double = (
            render(
                person,
                motion,
                self.size,
                samples=self.samples,
                threads=threads,
                channels=("image", "depth", "regions"),
            )
            for person in (identity, sample_identity(rng))
        )
        source = np.repeat(motion[:1], self.driving_frames, axis=0)
        displacement, visible = flow(identity, motion[1:], source, FLOW_SIZE, threads=threads)
        everywhere, _ = flow(identity, motion[1:], source, self.size, threads=threads)
        images = _image(own.image)
        moved = warp(images[:1].expand_as(images[1:]), torch.from_numpy(everywhere))
        return Head(
            images,
            torch.from_numpy(own.regions),
            torch.from_numpy(motion),
            torch.from_numpy(displacement),
            torch.from_numpy(visible),
            moved,
            _image(double.image),
            torch.from_numpy(own.depth[0]),
        )


def _image(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).movedim(-1, 1).float() / 255


def load_eval_heads(*, seed: int, identities: int, size: int | None = None) -> EvalHeads:
    """The heads of configs/eval_heads.yaml; `size` is the file's own if left out."""
    file = OmegaConf.load(HEADS_FILE)
    return EvalHeads(
        name=file.name,
        size=size or file.size,
        seed=seed,
        identities=identities,
        driving_frames=file.driving_frames,
        samples=file.samples,
        world=file.seed,
    )
