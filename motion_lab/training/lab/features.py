"""Training of `features`: what is in a picture, and what was done to it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lab.components.blocks import resize
from motion_lab.components.perceptual.lab_features import LabFeatures
from motion_lab.configs.schema import Config
from motion_lab.data.synthetic.parameters import MOTION, REGIONS
from motion_lab.data.synthetic.renderer import LANDMARK_NAMES
from motion_lab.evaluation.lab.features import SIZE, embed
from motion_lab.training.augment import (
    AS_IT_IS,
    add_noise,
    blur,
    compress,
    random_framing,
    recolour,
    retexture,
)
from motion_lab.training.lab.task import LabTask, as_images

# What can be done to a picture: blur in pixels, noise in grey levels, coarseness of JPEG. Greatest
# of each; 0 is nothing.
_HARMS = {"blur": 3.0, "noise": 24.0, "jpeg": 1.0}
_DOSES = 4  # in validation


class FeaturesTask(LabTask):
    """Regions, points, motion, person and harm, each read from the maps by a shallow head."""

    losses = ("regions", "points", "motion", "person", "harm")
    model: LabFeatures

    def __init__(self, config: Config, device: torch.device) -> None:
        super().__init__(config, device)
        self.people, self.others = self.build_people()
        self.spread = torch.from_numpy(self.people.motion.std((0, 1))).to(device)
        self.heads = _Heads(self.model.channels).to(device)

    def modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "heads": self.heads}

    def batch(self, step: int) -> dict[str, Tensor]:
        """Two pictures each of `training.batch_size` people: first one of all, then the other."""
        rng = self.rng(step)
        rows: dict[str, list[np.ndarray]] = {
            name: [] for name in ("image", "regions", "points", "motion", "harm")
        }
        chosen = rng.choice(len(self.people.frames), self.batch_size, replace=False)
        pairs = np.stack(
            [rng.choice(self.people.frames.shape[1], 2, replace=False) for _ in chosen]
        )
        for person, picture in zip(np.tile(chosen, 2), pairs.T.ravel(), strict=True):
            regions = self.people.regions[person, picture]
            image = retexture(self.people.frames[person, picture], regions, rng)
            # Wide, because frames of many sizes will be looked at.
            framing = random_framing(rng, zoom=0.5)
            image = recolour(framing.picture(image, SIZE), rng)
            harm = np.array([rng.random() * (rng.random() < 0.4) for _ in _HARMS], np.float32)
            rows["image"].append(_harm(image, harm, rng))
            rows["regions"].append(framing.picture(regions, SIZE // 4, labels=True))
            rows["points"].append(framing.points(self.people.landmarks[person, picture]))
            rows["motion"].append(self.people.motion[person, picture])
            rows["harm"].append(harm)
        batch = {name: torch.from_numpy(np.stack(values)) for name, values in rows.items()}
        return {**batch, "image": as_images(np.stack(rows["image"]))}

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        guess = self.heads(self.model(batch["image"]))
        first, second = F.normalize(guess["person"], dim=1).chunk(2)
        likeness = first @ second.T / 0.1
        own = torch.arange(len(first), device=likeness.device)
        points = guess["points"].unflatten(1, (-1, 2))
        return self.weigh(
            {
                "regions": F.cross_entropy(guess["regions"], batch["regions"].long()),
                "points": 10 * (points - batch["points"]).abs().mean(),
                "motion": F.smooth_l1_loss(guess["motion"], batch["motion"] / self.spread),
                "person": F.cross_entropy(likeness, own),
                "harm": 10 * F.mse_loss(guess["harm"], batch["harm"]),
            }
        )

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """On people never trained on.

        pixels_right: share of pixels given to the right region.
        harm_r2_…: R² of each predicted harm, pictures with that harm alone.
        monotone_…: share of pictures whose distance to the unharmed picture grows at every one
            of four doses.
        frechet_…: share of steps from dose to dose at which the Fréchet distance to pictures of
            other people grows.
        """
        rng = np.random.default_rng(self.seed)
        frames, labels = (x[:, :2].reshape(-1, *x.shape[2:]) for x in self.others[:2])
        pictures = [AS_IT_IS.picture(image, SIZE) for image in frames]
        clean = as_images(np.stack(pictures))
        maps = self._maps(clean)
        regions = torch.from_numpy(
            np.stack([AS_IT_IS.picture(x, SIZE // 4, labels=True) for x in labels])
        )
        right = (self.heads(maps)["regions"].argmax(1) == regions).float().mean().item()
        scores = {"pixels_right": right}
        half = len(pictures) // 2
        reference = embed(self.model, clean[:half])
        for index, name in enumerate(_HARMS):
            distances, guesses, frechet = [], [], []
            for dose in range(1, _DOSES + 1):
                harm = np.zeros(len(_HARMS), np.float32)
                harm[index] = dose / _DOSES
                harmed = as_images(np.stack([_harm(image, harm, rng) for image in pictures]))
                seen = self._maps(harmed)
                guesses.append(self.heads(seen)["harm"][:, index])
                apart = [(a - b).abs().mean((1, 2, 3)) for a, b in zip(seen, maps, strict=True)]
                distances.append(torch.stack(apart).sum(0))
                frechet.append(_spread_distance(embed(self.model, harmed[half:]), reference))
            doses = torch.arange(1, _DOSES + 1)[:, None] / _DOSES
            residual = (torch.stack(guesses) - doses).square().mean()
            scores[f"harm_r2_{name}"] = 1 - (residual / doses.var(correction=0)).item()
            growing = torch.stack(distances).diff(dim=0) > 0
            scores[f"monotone_{name}"] = growing.all(0).float().mean().item()
            rising = torch.stack(frechet).diff() > 0
            scores[f"frechet_{name}"] = rising.float().mean().item()
        return scores

    def _maps(self, images: Tensor) -> list[Tensor]:
        parts = [self.model(some) for some in images.split(64)]
        return [torch.cat(scale) for scale in zip(*parts, strict=True)]


class _Heads(nn.Module):
    """What is asked of the maps in training; thrown away afterwards."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        fine, coarse = sum(channels[:4]), channels[4]
        self.regions = nn.Conv2d(sum(channels[2:]), len(REGIONS), 1)
        self.points = nn.Linear(9 * coarse, 2 * len(LANDMARK_NAMES))
        self.motion = nn.Linear(9 * coarse, len(MOTION))
        self.person = nn.Linear(coarse, 64)
        self.harm = nn.Sequential(nn.Linear(2 * fine, 64), nn.SiLU(), nn.Linear(64, len(_HARMS)))

    def forward(self, maps: list[Tensor]) -> dict[str, Tensor]:
        plane = maps[2].shape[-2:]
        spread = [torch.cat([m.mean((2, 3)), m.std((2, 3))], 1) for m in maps[:4]]
        layout = resize(maps[4], (3, 3)).flatten(1)
        return {
            "regions": self.regions(torch.cat([resize(m, plane) for m in maps[2:]], 1)),
            "points": self.points(layout),
            "motion": self.motion(layout),
            "person": self.person(maps[4].mean((2, 3))),
            "harm": self.harm(torch.cat(spread, 1)),
        }


def _harm(image: np.ndarray, harm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture with blur, noise and JPEG at doses (3,) from 0 to 1."""
    image = blur(image, _HARMS["blur"] * harm[0])
    if harm[1]:
        image = add_noise(image, _HARMS["noise"] * float(harm[1]), rng)
    if harm[2]:
        image = compress(image, round(90 * (1 - harm[2]) ** 1.5) + 5)
    return image


def _spread_distance(a: Tensor, b: Tensor) -> Tensor:
    """Fréchet distance of two Gaussians with diagonal covariance, fitted to rows (N, E)."""
    return (a.mean(0) - b.mean(0)).square().sum() + (a.std(0) - b.std(0)).square().sum()
