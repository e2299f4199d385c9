"""Training of `sync`: of many moments of many talkers, which sound belongs to which lips."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lab.configs.schema import Config
from motion_lab.evaluation.lab.landmarks import cut
from motion_lab.evaluation.lab.sync import (
    CROP,
    FRAMES,
    SyncNet,
    crop_places,
    mouth_crops,
    windows,
)
from motion_lab.training.augment import degrade, recolour
from motion_lab.training.lab.task import LabTask, as_images
from motion_lab.training.motion import recorded

_MOMENTS = 12  # of each clip in a batch
_APART = 2  # frames at least between two of them: closer ones sound alike
_REACH = 15  # frames of shift within which the right one is looked for


class SyncTask(LabTask):
    """Contrast within the batch; moments of the same clip are the hard ones."""

    losses = ("contrast",)
    model: SyncNet

    def __init__(self, config: Config, device: torch.device) -> None:
        super().__init__(config, device)
        self.talkers, self.others = self.build_talkers()
        self.places = [
            crop_places(torch.from_numpy(np.array(points))) for points in self.talkers.landmarks
        ]
        self.temperature = nn.ParameterDict({"log": torch.tensor(0.1).log()}).to(device)

    def modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "temperature": self.temperature}

    def batch(self, step: int) -> dict[str, Tensor]:
        """`training.batch_size` clips with 12 moments of each."""
        rng = self.rng(step)
        clips = rng.choice(len(self.talkers.frames), self.batch_size, replace=False)
        frames = self.talkers.frames.shape[1]
        rows, waves, starts = [], [], []
        for clip in clips:
            slots = (frames - FRAMES + 1) // _APART
            chosen = _APART * rng.choice(slots, _MOMENTS, replace=False) + rng.integers(_APART)
            starts.append(np.minimum(chosen, frames - FRAMES))
            rows += [self._window(clip, start, rng) for start in starts[-1]]
            waves.append(recorded(self.talkers.wave[clip], rng))
        with torch.no_grad():
            columns = self.model.columns(torch.from_numpy(np.stack(waves)))
        moments = [columns[i, torch.from_numpy(start)] for i, start in enumerate(starts)]
        return {"windows": torch.stack(rows), "columns": torch.cat(moments)}

    def _window(self, clip: int, start: int, rng: np.random.Generator) -> Tensor:
        """Five mouth crops, cut a little beside the true place, under one light, degraded."""
        frames = self.talkers.frames[clip, start : start + FRAMES]
        theta = self.places[clip][start : start + FRAMES].clone()
        theta[:, :, :2] *= float(np.exp(rng.uniform(-0.12, 0.12)))
        theta[:, :, 2] += torch.from_numpy(
            rng.uniform(-0.03, 0.03, (1, 2)) + rng.normal(0, 0.004, (FRAMES, 2))
        )
        crops = cut(as_images(frames), theta, CROP)
        # One picture of all five, so that all suffer the same.
        strip = (255 * crops).to(torch.uint8).permute(0, 2, 3, 1).flatten(0, 1).numpy()
        harmed = degrade(recolour(strip, rng), rng, share=0.25)
        return as_images(harmed.reshape(FRAMES, *crops.shape[2:], 3))

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        lips, voice = self.model(batch["windows"], batch["columns"])
        likeness = lips @ voice.T / self.temperature["log"].exp()
        own = torch.arange(len(lips), device=lips.device)
        contrast = F.cross_entropy(likeness, own) + F.cross_entropy(likeness.T, own)
        total, terms = self.weigh({"contrast": contrast / 2})
        return total, {**terms, "found": (likeness.argmax(1) == own).float().mean()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """On people, voices and sentences never trained on, with crops at the true landmarks.

        offset_clips: share of clips whose sound is found at the right shift, within a frame, among
            shifts of ±15 frames.
        offset_second: the same by one second of a clip.
        offset_window: the same by single windows of 0.2 s.
        distance, distance_shuffled: mean distance of lips and voice, and of lips and another clip's
            voice.
        """
        hits: dict[str, list[Tensor]] = {"clips": [], "second": [], "window": []}
        lips, voice = [], []
        for frames, points, wave in zip(
            self.others.frames, self.others.landmarks, self.others.wave, strict=True
        ):
            crops = mouth_crops(as_images(frames), torch.from_numpy(np.array(points)))
            columns = self.model.columns(torch.from_numpy(wave[None].copy()))[0]
            seen, heard = self.model(windows(crops), columns)
            lips.append(seen)
            voice.append(heard)
            distances = _at_every_shift(seen, heard)
            seconds = distances[: len(distances) // 25 * 25].unflatten(0, (-1, 25)).mean(1)
            for name, rows in (
                ("clips", distances.mean(0, keepdim=True)),
                ("second", seconds),
                ("window", distances),
            ):
                hits[name].append((rows.argmin(1) - _REACH).abs() <= 1)
        shuffled = [(a - b).norm(dim=1) for a, b in zip(lips, [*voice[1:], voice[0]], strict=True)]
        matched = [(a - b).norm(dim=1) for a, b in zip(lips, voice, strict=True)]
        return {
            **{f"offset_{name}": torch.cat(x).float().mean().item() for name, x in hits.items()},
            "distance": torch.cat(matched).mean().item(),
            "distance_shuffled": torch.cat(shuffled).mean().item(),
        }


def _at_every_shift(lips: Tensor, voice: Tensor) -> Tensor:
    """Distances (F - 30, 31) of lips (F, E) from the voice (F, E) 15 frames earlier (first column)
    to 15 later, at the moments that have both.
    """
    around = voice.unfold(0, 2 * _REACH + 1, 1).mT
    return (lips[_REACH:-_REACH, None] - around).norm(dim=2)
