"""Training of `video`: true motion, and motion that was tampered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from motion_lab.configs.schema import Config
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.evaluation.lab.features import load as load_features
from motion_lab.evaluation.lab.video import FRAMES, VideoNet, layouts
from motion_lab.evaluation.lab.weights import weights_file
from motion_lab.files import whole_file
from motion_lab.models.weights import fingerprint
from motion_lab.training.augment import (
    Framing,
    add_noise,
    blur,
    compress,
    random_framing,
    recolour,
)
from motion_lab.training.lab.banks import Talkers
from motion_lab.training.lab.task import LabTask, as_images

MANNERS = ("true", "frozen", "shuffled", "fast", "slow", "jittered", "harmed")
"""What can be wrong with a window; the last two are wrong with whole clips."""


class VideoTask(LabTask):
    """What was done to time, how much head and mouth move, how much the frames were harmed."""

    losses = ("manner", "motion", "dose")
    model: VideoNet

    def __init__(self, config: Config, device: torch.device) -> None:
        super().__init__(config, device)
        train, held_out = self.build_talkers()
        self.features = load_features(device)
        self.facts = {"features_sha256": fingerprint(weights_file("features"))}
        self.train = self._see(train, "train")
        self.held_out = self._see(held_out, "held_out")
        self.heads = _Heads(self.model.embedding).to(device)
        moved = _movement(torch.from_numpy(self.train["motion"]).unfold(1, FRAMES, FRAMES).mT)
        self.mean = moved.mean((0, 1)).to(device)
        self.spread = moved.std((0, 1)).clamp(min=1e-4).to(device)

    def modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "heads": self.heads}

    def batch(self, step: int) -> dict[str, Tensor]:
        return _windows(self.train, self.batch_size, self.rng(step))

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        guess = self.heads(self.model(batch["layouts"].float()))
        moved = (_movement(batch["motion"]) - self.mean) / self.spread
        return self.weigh(
            {
                "manner": F.cross_entropy(guess["manner"], batch["manner"]),
                "motion": F.smooth_l1_loss(guess["motion"], moved),
                "dose": 10 * F.mse_loss(guess["dose"][:, 0], batch["dose"]),
            }
        )

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """On talkers never trained on.

        manner: share of windows told rightly; told_…: by manner.
        jaw_r: Pearson correlation of the predicted and the true size of jaw movement.
        dose_r: of the predicted and the true dose.
        """
        batch = _windows(self.held_out, 1400, np.random.default_rng(self.seed))
        guess = self.heads(self.model(batch["layouts"].float().to(self.device)))
        right = guess["manner"].argmax(1).cpu() == batch["manner"]
        moved = _movement(batch["motion"])[:, MOTION.index("jaw")]
        pairs = {
            "jaw_r": (guess["motion"][:, MOTION.index("jaw")].cpu(), moved),
            "dose_r": (guess["dose"][:, 0].cpu(), batch["dose"]),
        }
        return {
            "manner": right.float().mean().item(),
            **{
                f"told_{name}": right[batch["manner"] == i].float().mean().item()
                for i, name in enumerate(MANNERS)
            },
            **{name: torch.stack(pair).corrcoef()[0, 1].item() for name, pair in pairs.items()},
        }

    def _see(self, talkers: Talkers, name: str) -> dict[str, np.ndarray]:
        """Layouts of all clips as they are, and of each with something wrong with its frames.

        Kept in a folder named after the weights of `features` that they were seen with.
        """
        kept = Path(self.config.folder) / f"layouts-{self.facts['features_sha256'][:16]}"
        path = kept / f"{name}.npz"
        if not path.exists():
            kept.mkdir(parents=True, exist_ok=True)
            seen: dict[str, Any] = {"true": [], "wrong": [], "dose": []}
            for clip, frames in enumerate(track(talkers.frames, f"Watching {name} clips")):
                rng = np.random.default_rng([self.seed, clip])
                dose = rng.uniform(0.1, 1.0)
                worsen = _jitter if _jittered(clip) else _harm
                seen["true"].append(self._layouts(frames))
                seen["wrong"].append(self._layouts(worsen(frames, dose, rng)))
                seen["dose"].append(dose)
            with whole_file(path) as unfinished, unfinished.open("wb") as file:
                stacked: dict[str, Any] = {key: np.stack(value) for key, value in seen.items()}
                np.savez(file, **stacked)
        found = np.load(path)
        return {**{key: found[key] for key in found}, "motion": np.array(talkers.motion)}

    def _layouts(self, frames: np.ndarray) -> np.ndarray:
        return layouts(self.features, as_images(frames)).half().cpu().numpy()


class _Heads(nn.Module):
    """What is asked of an embedding in training; thrown away afterwards."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.manner = nn.Linear(embedding, len(MANNERS))
        self.motion = nn.Linear(embedding, 2 * len(MOTION))
        self.dose = nn.Linear(embedding, 1)

    def forward(self, embedding: Tensor) -> dict[str, Tensor]:
        return {name: head(embedding) for name, head in self.named_children()}


def _windows(
    seen: dict[str, np.ndarray], count: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """``count`` windows, all manners alike; `motion` is what is shown, `dose` how wrong it is."""
    clips, frames = seen["true"].shape[:2]
    rows: dict[str, list[Any]] = {"layouts": [], "motion": [], "manner": [], "dose": []}
    for _ in range(count):
        manner = rng.integers(len(MANNERS))
        clip = rng.integers(clips)
        source, dose = "true", 0.0
        if MANNERS[manner] in ("jittered", "harmed"):
            clip = clip // 2 * 2 + (MANNERS[manner] == "harmed")
            clip = min(clip, clips - 1)
            source, dose = "wrong", float(seen["dose"][clip])
            times = np.arange(FRAMES)
        else:
            times, dose = _times(MANNERS[manner], rng)
        times = times + rng.integers(frames - times.max())
        rows["layouts"].append(seen[source][clip, times])
        rows["motion"].append(seen["motion"][clip, times])
        rows["manner"].append(manner)
        rows["dose"].append(np.float32(dose))
    return {name: torch.from_numpy(np.stack(values)) for name, values in rows.items()}


def _times(manner: str, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Which frames a window shows, from 0, and how wrong that is, 0 to 1."""
    times = np.arange(FRAMES)
    if manner == "frozen":
        length = int(rng.integers(4, FRAMES + 1))
        start = rng.integers(FRAMES - length + 1)
        times[start : start + length] = start
        return times, length / FRAMES
    if manner == "shuffled":
        reach = rng.uniform(1.5, FRAMES)
        return np.argsort(times + rng.uniform(0, reach, FRAMES)), reach / FRAMES
    if manner == "fast":
        return 2 * times, 0.5
    if manner == "slow":
        return times // 2, 0.5
    return times, 0.0


def _jittered(clip: int) -> bool:
    return clip % 2 == 0


def _jitter(frames: np.ndarray, dose: float, rng: np.random.Generator) -> np.ndarray:
    """Frames that shake: each is moved, turned and zoomed by itself."""
    size = frames.shape[1]
    framings: list[Framing] = [
        random_framing(rng, shift=0.03 * dose, zoom=0.03 * dose, turn=0.05 * dose) for _ in frames
    ]
    return np.stack([f.picture(x, size) for f, x in zip(framings, frames, strict=True)])


def _harm(frames: np.ndarray, dose: float, rng: np.random.Generator) -> np.ndarray:
    """Frames blurred, noisy, compressed or of changing colours."""
    kind = rng.integers(4)
    if kind == 0:
        return np.stack([blur(x, 3 * dose) for x in frames])
    if kind == 1:
        return np.stack([add_noise(x, 24 * dose, rng) for x in frames])
    if kind == 2:
        return np.stack([compress(x, round(60 * (1 - dose)) + 5) for x in frames])
    mixed = [(1 - 0.5 * dose) * x + 0.5 * dose * recolour(x, rng) for x in frames]
    return np.stack(mixed).astype(np.uint8)


def _movement(motion: Tensor) -> Tensor:
    """Motion (…, T, 16) → its standard deviation and mean speed over time, (…, 32)."""
    return torch.cat([motion.std(-2), motion.diff(dim=-2).abs().mean(-2)], -1)
