"""What the tasks of all lab networks share (see :class:`motion_lab.training.loop.Task`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from motion_lab.configs.schema import Config
from motion_lab.errors import UsageError
from motion_lab.evaluation.lab.weights import build_network
from motion_lab.training.lab.banks import People, Talkers, build_people, build_talkers

PEOPLE_SIZE, TALKERS_SIZE = 128, 96
HELD_OUT_PICTURES = 6


class LabTask:
    """A network, its weights of losses and its data; people and voices held out are seed + 1."""

    losses: tuple[str, ...] = ()
    """Names that `training.losses` must weigh."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.device = device
        self.facts: dict[str, str] = {}
        self.config = config.data
        self.seed, self.batch_size = config.training.seed, config.training.batch_size
        self.weights = dict(config.training.losses)
        if sorted(self.weights) != sorted(self.losses):
            raise UsageError(
                f"training.losses must weigh {', '.join(self.losses)}, got {self.weights}"
            )
        self.model = build_network(**config.model["network"]).to(device)
        # Channels last is what convolutions on a CPU and tensor cores want.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def modules(self) -> dict[str, nn.Module]:
        """All that is trained, by name."""
        return {"model": self.model}

    def rng(self, step: int) -> np.random.Generator:
        """The generator that a step's batch is drawn with."""
        return np.random.default_rng([self.seed, step])

    def weigh(self, terms: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of the weighted terms, and the terms for the display."""
        total = torch.stack([self.weights[name] * terms[name] for name in self.losses]).sum()
        return total, {name: term.detach() for name, term in terms.items()}

    def pictures(self) -> dict[str, Tensor]:
        """None, unless a task has something to show."""
        return {}

    def build_people(self) -> tuple[People, People]:
        """People to train on, and people to validate on."""
        data, folder = self.config, Path(self.config.folder) / "people"
        return (
            build_people(folder / "train", data.people, data.pictures, PEOPLE_SIZE, data.seed),
            build_people(
                folder / "held_out",
                data.held_out_people,
                HELD_OUT_PICTURES,
                PEOPLE_SIZE,
                data.seed + 1,
            ),
        )

    def build_talkers(self) -> tuple[Talkers, Talkers]:
        """Talkers to train on, and talkers with other voices to validate on."""
        data, folder = self.config, Path(self.config.folder) / "talkers"
        size, frames, seed = TALKERS_SIZE, data.frames, data.seed
        return (
            build_talkers(folder / "train", data.clips, frames, size, seed),
            build_talkers(
                folder / "held_out", data.held_out_clips, frames, size, seed + 1, held_out=True
            ),
        )


def as_images(frames: np.ndarray) -> Tensor:
    """Pictures (…, S, S, 3) uint8 → (…, 3, S, S) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, -3).float() / 255


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson correlation (…, N) over the last dimension, averaged over the others.

    Rows in which either does not vary count for nothing.
    """
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    scale = (a.square().sum(-1) * b.square().sum(-1)).sqrt()
    return ((a * b).sum(-1) / scale)[scale > 1e-9].mean().item()
