"""A task of a second or less, with everything that could spoil a resumption."""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from motion_lab.configs.schema import BaseDataConfig, Config, TrainingConfig
from motion_lab.training.loop import train


class ToyTask:
    """Regression through dropout (torch's RNG), batch norm (buffers) and a convolution whose
    weights lie channels-last in memory, read by a probe."""

    def __init__(self, seed: int = 0, *, poison: int | None = None, pause: float = 0.0) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(
            nn.Unflatten(1, (4, 1, 1)),
            nn.Conv2d(4, 8, 3, padding=1).to(memory_format=torch.channels_last),
            nn.Flatten(),
            nn.BatchNorm1d(8),
            nn.Dropout(0.3),
            nn.Linear(8, 4),
        )
        self.probe = nn.Linear(4, 1)
        self.facts = {"toy": "yes"}
        self.poison, self.pause = poison, pause
        self.seen: list[int] = []

    def modules(self):
        return {"model": self.model, "probe": self.probe}

    def batch(self, step):
        self.seen.append(step)
        x = np.random.default_rng([7, step]).normal(size=(16, 4)).astype(np.float32)
        if step == self.poison:
            x[0] = np.nan
        return {"x": torch.from_numpy(x)}

    def loss(self, batch, step):
        time.sleep(self.pause)
        assert self.model.training
        y = self.model(batch["x"])
        fit = (y - batch["x"].flip(1)).square().mean()
        read = (self.probe(y) - batch["x"].sum(1, keepdim=True)).square().mean()
        return fit + 0.1 * read, {"fit": fit, "read": read.detach()}

    def pictures(self):
        return {"noise": torch.rand(3, 4, 4)}  # draws from torch's RNG, which must not matter

    def validate(self):
        assert not self.model.training
        return {"weight": float(self.model[1].weight.sum())}


def toy_config(**training) -> Config:
    settings = {"steps": 24, "batch_size": 16, "log_every": 5, "picture_every": 8, "warmup": 4}
    settings |= {"checkpoint_minutes": 1000.0, "learning_rate": 1e-2} | training
    return Config("base", {"size": 4}, BaseDataConfig(folder="here"), TrainingConfig(**settings))


if __name__ == "__main__":  # the run that tests interrupt
    train(
        ToyTask(pause=0.01),
        toy_config(steps=int(sys.argv[2])),
        Path(sys.argv[1]),
        resume=False,
        device="cpu",
    )
