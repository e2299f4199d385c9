"""Training of `landmarks`: the renderer's exact points under every harm to the picture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lab.configs.schema import Config
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.data.synthetic.renderer import LANDMARK_NAMES
from motion_lab.evaluation.lab.landmarks import (
    PARTS,
    SIZE,
    LandmarkNet,
    found,
    lid_opening,
    mouth_opening,
    mouth_width,
)
from motion_lab.training.augment import (
    cover,
    degrade,
    pattern,
    random_framing,
    recolour,
    retexture,
)
from motion_lab.training.lab.task import LabTask, as_images, correlation

# Points that the openings are measured between.
_GAPS = (
    ("lip_upper_inner", "lip_lower_inner"),
    ("mouth_corner_left", "mouth_corner_right"),
    ("lid_upper_left", "lid_lower_left"),
    ("lid_upper_right", "lid_lower_right"),
)
_FACELESS = 0.06  # share of pictures without a face


class LandmarksTask(LabTask):
    """Points by their distance, gaps between lips and lids besides, and how sure to be."""

    losses = ("points", "parts", "openings", "doubt")
    model: LandmarkNet

    def __init__(self, config: Config, device: torch.device) -> None:
        super().__init__(config, device)
        self.people, self.others = self.build_people()
        self.gaps = [[LANDMARK_NAMES.index(name) for name in pair] for pair in _GAPS]

    def batch(self, step: int) -> dict[str, Tensor]:
        rng = self.rng(step)
        images, points, near, face = [], [], [], []
        for _ in range(self.batch_size):
            person = rng.integers(len(self.people.frames))
            picture = rng.integers(self.people.frames.shape[1])
            image = self.people.frames[person, picture]
            marks = self.people.landmarks[person, picture]
            here = bool(rng.random() >= _FACELESS)
            if here:
                image = retexture(image, self.people.regions[person, picture], rng)
            else:
                image = _without_face(image, rng)
            framing = random_framing(rng)
            image = framing.picture(image, SIZE)
            images.append(degrade(cover(recolour(image, rng), rng), rng))
            points.append(framing.points(marks))
            near.append(random_framing(rng, shift=0.02).points(points[-1]))
            face.append(here)
        return {
            "image": as_images(np.stack(images)),
            "points": torch.from_numpy(np.stack(points)),
            "near": torch.from_numpy(np.stack(near)),
            "face": torch.tensor(face),
        }

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        truth, face = batch["points"], batch["face"]
        guess = self.model.overview(batch["image"])
        # Views a little off, as a first guess will be.
        near = self.model.look(batch["image"], batch["near"])
        error = (near - truth)[face]
        gaps = torch.stack([error[:, a] - error[:, b] for a, b in self.gaps], 1)
        # A two-dimensional Laplace density whose width is the spread; where there is no face,
        # every place in the frame is as good.
        anywhere = torch.rand_like(truth)
        place = torch.where(face[:, None, None], truth, anywhere)
        distance = (guess.points.detach() - place).norm(dim=-1)
        return self.weigh(
            {
                "points": 100 * (guess.points - truth)[face].abs().mean(),
                "parts": 100 * error[:, PARTS].abs().mean(),
                "openings": 100 * gaps.abs().mean(),
                "doubt": (distance / guess.spread + 2 * guess.spread.log()).mean(),
            }
        )

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """On people never trained on, as rendered and degraded.

        error: mean distance of points in percent of the frame's width; ``_harmed`` of pictures
            retextured, recoloured and degraded.
        error_mouth: of the six points of the mouth.
        jaw_r, lip_width_r, blink_r: Pearson correlation, within each person's pictures, of mouth
            opening, mouth width and lid opening with the motion parameters.
        opening_r, width_r, lids_r: with the same measures on the true points.
        face_found, no_face_found: share of pictures, with and without one, in which a face is
            found.
        """
        frames = self.others.frames
        people, pictures = frames.shape[:2]
        flat = frames.reshape(-1, *frames.shape[2:])
        truth = torch.from_numpy(self.others.landmarks.reshape(people * pictures, -1, 2))
        motion = torch.from_numpy(self.others.motion)
        rng = np.random.default_rng(self.seed)
        harmed, bare = [], []
        for image, regions in zip(
            flat, self.others.regions.reshape(-1, *frames.shape[2:4]), strict=True
        ):
            harmed.append(degrade(recolour(retexture(image, regions, rng), rng), rng))
            bare.append(degrade(_without_face(image, rng), rng))
        guess = self.model.track(as_images(flat))
        rough = self.model.track(as_images(np.stack(harmed)))
        none = self.model.track(as_images(np.stack(bare)))
        points = guess.points.cpu()
        mouth = [i for i, name in enumerate(LANDMARK_NAMES) if name.startswith(("mouth", "lip"))]

        def error(points: Tensor) -> Tensor:
            return 100 * (points.cpu() - truth).norm(dim=-1)

        def parameter(*names: str) -> Tensor:
            return motion[..., [MOTION.index(name) for name in names]].mean(-1)

        def per_person(values: Tensor) -> Tensor:
            return values.unflatten(0, (people, pictures))

        opening, width = per_person(mouth_opening(points)), per_person(mouth_width(points))
        lids = per_person(lid_opening(points).mean(-1))
        return {
            "error": error(guess.points).mean().item(),
            "error_harmed": error(rough.points).mean().item(),
            "error_mouth": error(guess.points)[:, mouth].mean().item(),
            "jaw_r": correlation(opening, parameter("jaw")),
            "lip_width_r": correlation(width, parameter("lip_width")),
            "blink_r": -correlation(lids, parameter("blink_left", "blink_right")),
            "opening_r": correlation(opening, per_person(mouth_opening(truth))),
            "width_r": correlation(width, per_person(mouth_width(truth))),
            "lids_r": correlation(lids, per_person(lid_opening(truth).mean(-1))),
            "face_found": found(guess).float().mean().item(),
            "face_found_harmed": found(rough).float().mean().item(),
            "no_face_found": found(none).float().mean().item(),
        }

    @torch.no_grad()
    def pictures(self) -> dict[str, Tensor]:
        """Held-out people with the points found (white) and true (green)."""
        images = as_images(self.others.frames[:8, 0])
        guess = self.model.track(images).points.cpu()
        truth = torch.from_numpy(self.others.landmarks[:8, 0])
        size = images.shape[-1]
        drawn = images.clone()
        for points, colour in ((truth, (0.0, 1.0, 0.0)), (guess, (1.0, 1.0, 1.0))):
            at = (points * size).long().clamp(0, size - 1)
            for picture, places in zip(drawn, at, strict=True):
                picture[:, places[:, 1], places[:, 0]] = torch.tensor(colour)[:, None]
        drawn = F.interpolate(drawn, scale_factor=2.0)
        return {"points": torch.cat([torch.cat(list(row), -1) for row in drawn.split(4)], -2)}


def _without_face(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A pattern, or the picture in pieces that are in disorder."""
    size = image.shape[0]
    if rng.random() < 0.5:
        return pattern(size, rng)
    pieces = int(rng.choice([4, 8]))
    side = size // pieces
    tiles = image[: side * pieces, : side * pieces].reshape(pieces, side, pieces, side, 3)
    tiles = tiles.swapaxes(1, 2).reshape(-1, side, side, 3)[rng.permutation(pieces**2)]
    mixed = tiles.reshape(pieces, pieces, side, side, 3).swapaxes(1, 2)
    return np.ascontiguousarray(mixed.reshape(side * pieces, side * pieces, 3))
