"""Stage-2 training: from the sound of a track to the motion in a window of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

import registry
from motion_lab.errors import UsageError
from motion_lab.evaluation.tracks import pearson
from motion_lab.models.motion_model import FRAME, MotionModel, ridge
from motion_lab.models.weights import load_base_model, motion_fingerprint
from motion_lab.training.motion_data import Clip

# Share of windows that open their clip, which is how every use begins.
OPENINGS = 0.15
# A batch's tracks are up to this many windows long, so that the extractors meet tracks of many
# lengths and a window at any place in them.
LONGEST = 3
LOSSES = ("position", "velocity", "acceleration")


class MotionTask:
    """What the training loop needs of stage 2 (see :class:`motion_lab.training.loop.Task`).

    The data set (:class:`motion_lab.training.motion_data.MotionData`) is made on its first use and
    kept in a folder named after the base weights. `training.losses` weighs :data:`LOSSES`.
    """

    def __init__(self, config: Any, device: torch.device) -> None:
        self.device = device
        self.seed, self.batch_size = config.training.seed, config.training.batch_size
        self.shortest = config.data.shortest
        self.weights = dict(config.training.losses)
        if not self.weights or not set(self.weights) <= set(LOSSES):
            raise UsageError(
                f"training.losses must weigh some of {', '.join(LOSSES)}, got {self.weights}"
            )
        base = load_base_model(config.data.base, device)
        if base.motion_size != config.model["motion_size"]:
            raise UsageError(
                f"the motion features of data.base={config.data.base} have {base.motion_size} "
                f"numbers: set model.motion_size to that instead of {config.model['motion_size']}"
            )
        features = motion_fingerprint(config.data.base)
        self.facts = {"motion_features": features}
        self.model = MotionModel(**config.model).to(device)
        self.train, self.held_out = registry.DATASETS.build(
            config.data.dataset, base=base, folder=Path(config.data.folder) / features[:16]
        )
        shortest = min(len(clip.deviation) for clip in self.train)
        if shortest < self.model.window:
            raise UsageError(
                f"a clip of {shortest} frames is shorter than model.window ({self.model.window}); "
                "leave out short clips or choose a smaller window"
            )
        if self.shortest > self.model.window:
            raise UsageError(
                f"data.shortest ({self.shortest}) is longer than model.window ({self.model.window})"
            )
        deviations = np.concatenate([clip.deviation for clip in self.train])
        sources = np.stack([clip.source for clip in self.train])
        self.model.fit_normalisation(torch.from_numpy(deviations), torch.from_numpy(sources))
        known = [clip for clip in self.train if clip.parameters is not None]
        if known:
            self.model.fit_readout(
                torch.from_numpy(np.concatenate([clip.deviation for clip in known])),
                torch.from_numpy(np.concatenate([clip.parameters for clip in known])),
            )
        self.probe = fit_probe(deviations, np.concatenate([clip.opening for clip in self.train]))

    def modules(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def batch(self, step: int) -> dict[str, Tensor]:
        """Batch `step`, the arguments of `training_loss`: a function of (seed, step) alone."""
        rng = np.random.default_rng([self.seed, step])
        window, history = self.model.window, self.model.history
        if self.shortest and rng.random() < 0.5:
            window = int(rng.integers(self.shortest, window + 1))
        clips = [self.train[i] for i in rng.integers(len(self.train), size=self.batch_size)]
        longest = min(*(len(clip.deviation) for clip in clips), LONGEST * self.model.window)
        length = int(rng.integers(window, longest + 1))
        rows: list[dict[str, np.ndarray]] = []
        for clip in clips:
            opens = rng.random() < OPENINGS
            first = 0 if opens else int(rng.integers(len(clip.deviation) - length + 1))
            start = 0 if opens else int(rng.integers(length - window + 1))
            # Before its first frame the head rests as in the portrait.
            rest = np.zeros((history, clip.deviation.shape[1]), np.float32)
            known = np.concatenate([rest, clip.deviation])
            seen = known[first + start : first + start + history + window]
            rows.append(
                {
                    "md": seen[history:],
                    "past": seen[:history],
                    "wave": recorded(clip.wave[first * FRAME : (first + length) * FRAME], rng),
                    "source": clip.source,
                    "start": np.asarray(start),
                }
            )
        return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        terms = self.model.training_loss(**batch)
        total = sum((scale * terms[name] for name, scale in self.weights.items()), torch.zeros(()))
        return total, {name: term.detach() for name, term in terms.items()}

    def validate(self) -> dict[str, float]:
        """How well the mouth follows the voice of people, and sentences, never trained on.

        jaw_r: Pearson correlation, averaged over clips, between the jaw's opening in generated
            motion and in the true motion, both read by a linear probe of the training clips' MD.
        jaw_r_shuffled: the same when each clip hears another's voice; what chance gives.
        jaw_r_mean: that of the model's `mean` mode.
        probe_r: what the probe itself reaches on true motion against the true opening.
        """
        clips = self.held_out
        truth = [clip.opening for clip in clips]
        return {
            "jaw_r": _agreement(self._jaw(clips), self._true_jaw(clips)),
            "jaw_r_shuffled": _agreement(
                self._jaw(clips, [*clips[1:], clips[0]]), self._true_jaw(clips)
            ),
            "jaw_r_mean": _agreement(self._jaw(clips, mean=True), self._true_jaw(clips)),
            "probe_r": _agreement(self._true_jaw(clips), truth),
        }

    def pictures(self) -> dict[str, Tensor]:
        """The jaw's track in held-out clips: true in black, generated in orange."""
        clips = self.held_out[:4]
        rows = [
            _chart([true, made])
            for true, made in zip(self._true_jaw(clips), self._jaw(clips), strict=True)
        ]
        return {"jaw": torch.from_numpy(np.concatenate(rows)).movedim(-1, 0).float() / 255}

    def _true_jaw(self, clips: list[Clip]) -> list[np.ndarray]:
        return [_read(self.probe, clip.deviation) for clip in clips]

    def _jaw(
        self, clips: list[Clip], voices: list[Clip] | None = None, mean: bool = False
    ) -> list[np.ndarray]:
        """The jaw in motion generated for `clips`, as many frames of each as all have."""
        frames = min(len(clip.deviation) for clip in clips)
        waves = np.stack([clip.wave[: frames * FRAME] for clip in voices or clips])
        sources = np.stack([clip.source for clip in clips])
        motion = self.model.generate(
            torch.from_numpy(waves).to(self.device),
            torch.from_numpy(sources).to(self.device),
            mean=mean,
            generator=torch.Generator().manual_seed(self.seed),
        )
        return [_read(self.probe, deviation) for deviation in motion.cpu().numpy()]


def fit_probe(deviations: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """Weights and offset (M + 1,) that read the jaw's opening (F,) off deviations (F, M).

    By ridge regression of either around its mean.
    """
    mean = deviations.mean(0, dtype=np.float64)
    x, y = torch.from_numpy(deviations - mean), torch.from_numpy(opening - opening.mean())
    weights = ridge(x, y[:, None])[:, 0].numpy()
    return np.append(weights, opening.mean() - mean @ weights)


def _read(probe: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    return deviation @ probe[:-1] + probe[-1]


def _agreement(tracks: list[np.ndarray], others: list[np.ndarray]) -> float:
    """Mean Pearson correlation of tracks, each as long as the shorter of its pair."""
    values = []
    for track, other in zip(tracks, others, strict=True):
        frames = min(len(track), len(other))
        values.append(pearson(track[:frames], other[:frames]))
    return float(np.mean(values))


def recorded(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The wave as another microphone in another room might have it: tone and noise floor."""
    level = np.sqrt(np.mean(wave**2))
    toned = wave.copy()
    toned[1:] += rng.uniform(-0.6, 0.6) * wave[:-1]
    noise = level * 10 ** rng.uniform(-3.5, -1.5) * rng.standard_normal(len(wave), dtype=np.float32)
    return (toned + noise).astype(np.float32)


def _chart(tracks: list[np.ndarray], height: int = 80, width: int = 500) -> np.ndarray:
    """Tracks over time between -0.2 and 1.2, (height, width, 3) uint8."""
    canvas = np.full((height, width, 3), 255, np.uint8)
    for track, colour in zip(tracks, ((0, 0, 0), (230, 120, 0)), strict=True):
        x = np.linspace(0, width - 1, len(track))
        y = height * (1 - (np.clip(track, -0.2, 1.2) + 0.2) / 1.4)
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        cv2.polylines(canvas, [points], False, colour, 1, cv2.LINE_AA)
    return canvas
