"""Training of `face`: one person in many poses, expressions, lights, clothes and rooms."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from motion_lab.configs.schema import Config
from motion_lab.evaluation.lab.face import SIZE, FaceNet
from motion_lab.training.augment import cover, degrade, random_framing, recolour
from motion_lab.training.lab.task import LabTask, as_images

_PICTURES = 3  # of each person in a batch
_TEMPERATURE = 0.1


class FaceTask(LabTask):
    """Pictures of one person attract each other, those of others in the batch repel."""

    losses = ("contrast",)
    model: FaceNet

    def __init__(self, config: Config, device: torch.device) -> None:
        super().__init__(config, device)
        self.people, self.others = self.build_people()

    def batch(self, step: int) -> dict[str, Tensor]:
        """Three pictures each of `training.batch_size` people."""
        rng = self.rng(step)
        people = rng.choice(len(self.people.frames), self.batch_size, replace=False)
        images = []
        for person in people:
            for picture in rng.choice(self.people.frames.shape[1], _PICTURES, replace=False):
                image = random_framing(rng).picture(self.people.frames[person, picture], SIZE)
                images.append(degrade(cover(recolour(image, rng), rng), rng, share=0.25))
        names = torch.arange(self.batch_size).repeat_interleave(_PICTURES)
        return {"image": as_images(np.stack(images)), "person": names}

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        embedded = self.model(batch["image"])
        likeness = embedded @ embedded.T / _TEMPERATURE
        myself = torch.eye(len(likeness), dtype=torch.bool, device=likeness.device)
        same = (batch["person"][:, None] == batch["person"]) & ~myself
        surprise = -likeness.masked_fill(myself, -torch.inf).log_softmax(1)
        return self.weigh({"contrast": surprise[same].mean()})

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """On people never trained on, each picture in other circumstances.

        auc: area under the ROC curve of telling whether two pictures show one person.
        same, other: mean cosine of pictures of one person, of different people.
        nearest: share of pictures whose nearest neighbour shows the same person.
        """
        frames = self.others.frames
        people = torch.arange(len(frames)).repeat_interleave(frames.shape[1])
        embedded = self.model.embed(as_images(frames.reshape(-1, *frames.shape[2:]))).cpu()
        cosine = embedded @ embedded.T
        same = people[:, None] == people
        upper = torch.ones_like(same).triu(1)
        alike, unlike = cosine[same & upper], cosine[~same & upper]
        return {
            "auc": area_under_roc(alike, unlike),
            "same": alike.mean().item(),
            "other": unlike.mean().item(),
            "nearest": same.gather(1, cosine.fill_diagonal_(-2).argmax(1, keepdim=True))
            .float()
            .mean()
            .item(),
        }


def area_under_roc(positive: Tensor, negative: Tensor) -> float:
    """How often a positive score is above a negative one; ties count half."""
    ranked = negative.sort().values
    below = torch.searchsorted(ranked, positive) + torch.searchsorted(ranked, positive, right=True)
    return (below.double() / 2 / len(negative)).mean().item()
