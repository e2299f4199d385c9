"""Stage-1 training: pairs of rendered frames with exact geometry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import registry
from motion_lab.components.blocks import resize
from motion_lab.components.layers import HEAD_DEPTH, expected_layer, true_layer
from motion_lab.components.protocols import MotionField
from motion_lab.configs.schema import Config
from motion_lab.data.synthetic.pairs import (
    FLOW_SIZE,
    PAIRS,
    PEOPLE,
    WIDE,
    PairBank,
    build_pairs,
)
from motion_lab.data.synthetic.parameters import BODY_REGIONS, MOTION
from motion_lab.data.synthetic.renderer import LANDMARK_NAMES
from motion_lab.data.synthetic.worlds import WORLDS
from motion_lab.errors import UsageError
from motion_lab.evaluation.metrics import psnr
from motion_lab.models.base_model import BaseModel, image_plane
from motion_lab.models.weights import load_base_model
from motion_lab.training import losses
from motion_lab.training.augment import disturb, texture_pairs
from motion_lab.training.critic import PatchCritic, adversarial_losses
from motion_lab.training.stills import load_stills, mix_in_stills

LOSSES = {
    "parameters": "the change of the head's parameters and of the arms' places in the frame, read "
    "linearly off the deviation",
    "places": "where the motion encoder finds eyes and mouth, against the landmarks",
    "flow": "displacement against the true one, pixels of a 64-pixel frame",
    "mask": "what is kept of the warped source against what the source shows",
    "depth": "expected depth layer against the true depth, in layers' coordinates",
    "image": "absolute difference of the pixels, at three scales",
    "edges": "absolute difference of the gradients",
    "structure": "one minus structural similarity, at three scales",
    "perceptual": "distance of the features of data.perceptual",
    "adversarial": "what the critic finds untrue about the frame",
    "features": "distance of the critic's features",
    "critic": "the critic's own: how badly it tells true frames from made ones",
}
"""What `training.losses` can weigh; one that is not named there is not computed."""

# Where an encoder that searches the frame is to find mouth, left and right eye: means of landmarks,
# of which every world has a head's first.
_PLACES = [
    [LANDMARK_NAMES.index(name) for name in names]
    for names in (
        ("mouth_corner_left", "mouth_corner_right", "lip_upper_outer", "lip_lower_outer"),
        ("eye_outer_left", "eye_inner_left"),
        ("eye_outer_right", "eye_inner_right"),
    )
]


class BaseTask:
    """What the training loop needs of stage 1 (see :class:`motion_lab.training.loop.Task`).

    `training.losses` weighs :data:`LOSSES`. Those from image on are of the frame, and compared from
    `data.appearance_from` on; adversarial, features and critic from `data.critic_from` on.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        data, training = config.data, config.training
        self.device = device
        self.facts: dict[str, str] = {}
        self.seed, self.batch_size = training.seed, training.batch_size
        self.weights = {name: value for name, value in training.losses.items() if value}
        for name in self.weights:
            if name not in LOSSES:
                raise UsageError(
                    f"training.losses: there is no loss {name!r}; there are {', '.join(LOSSES)}"
                )
        if {"adversarial", "features"} & self.weights.keys() and "critic" not in self.weights:
            raise UsageError(
                "training.losses weighs what a critic finds, but trains none; give 'critic' a "
                "weight too, usually 1"
            )
        self.cross_identity, self.wide, self.texture = data.cross_identity, data.wide, data.texture
        self.motion_from, self.appearance_from = data.motion_from, data.appearance_from
        self.critic_from = data.critic_from
        # Channels last is what convolutions on a CPU and tensor cores want.
        self.model = BaseModel(**config.model).to(device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if "places" in self.weights and not hasattr(self.model.motion_encoder, "look"):
            raise UsageError(
                "training.losses weighs 'places', but the motion encoder does not search the "
                "frame; leave it out, or set model.motion_encoder=deviation_windows"
            )
        self.model.recompute = training.recompute
        if data.start:
            self._start_from(data.start)
        self.frozen = [self._frozen(name) for name in data.frozen]
        # One that is finished would only give noise to those that learn to follow it.
        self.reads_motion = "motion_encoder" not in data.frozen
        world = WORLDS[data.world]
        self.depth_span = world.depth
        told = len(MOTION) + 2 * (len(world.landmarks) - len(LANDMARK_NAMES))
        self.probe = nn.Linear(self.model.motion_size, told).to(device)
        self.critic = PatchCritic().to(device) if "critic" in self.weights else None
        self.perceptual = self._perceptual(data.perceptual)
        folder = Path(data.folder)
        threads = torch.get_num_threads()
        self.bank, self.held_out = (
            build_pairs(folder / part, groups, data.size, seed, threads, world)
            for part, groups, seed in (
                ("train", data.groups, data.seed),
                ("held_out", data.held_out_groups, data.seed + 1),
            )
        )
        self.stills = load_stills(Path(data.stills), data.size) if data.stills else None
        self.stills_share = data.stills_share
        # A turn of the head in radians and an open jaw in its own unit are to count alike.
        spread = torch.from_numpy(
            np.append(
                self.bank.motion[..., : len(MOTION)].std((0, 1)),
                self.bank.landmarks[..., len(LANDMARK_NAMES) :, :].std((0, 1, 2)),
            )
        )
        self.spread = spread.clamp(min=1e-6).to(device)  # few heads may never press their lips
        weight = torch.ones(len(BODY_REGIONS))
        for name, value in data.region_weights.items():
            weight[BODY_REGIONS.index(name)] = value
        self.region_weight = weight.to(device)

    def _frozen(self, name: str) -> nn.Module:
        component: nn.Module | None = getattr(self.model, name)
        if component is None:
            raise UsageError(f"data.frozen: the model has no {name}; set model.{name}, or leave it")
        return component.requires_grad_(False)

    def _start_from(self, checkpoint: str) -> None:
        """Take a checkpoint's weights; a component that it lacks keeps its fresh ones."""
        state = load_base_model(checkpoint, self.device).state_dict()
        had = {name.partition(".")[0] for name in state}
        fresh = self.model.state_dict()
        state |= {name: fresh[name] for name in fresh if name.partition(".")[0] not in had}
        try:
            self.model.load_state_dict(state)
        except RuntimeError as error:
            raise UsageError(
                f"data.start={checkpoint} has weights of another model than this configuration's; "
                f"make their components alike: {error}"
            ) from error

    def _perceptual(self, spec: Mapping[str, Any] | None) -> nn.Module | None:
        if "perceptual" not in self.weights:
            return None
        if spec is None:
            raise UsageError(
                "training.losses weighs 'perceptual': set data.perceptual to the network that "
                "compares, for example data.perceptual=lab_features"
            )
        network: nn.Module = registry.PERCEPTUAL.build(spec)
        return network.to(self.device).requires_grad_(False).eval()

    def modules(self) -> dict[str, torch.nn.Module]:
        """The model; the probe that its motion features are read with; the critic, if any."""
        critic = {} if self.critic is None else {"critic": self.critic}
        return {"model": self.model, "probe": self.probe, **critic}

    def batch(self, step: int) -> dict[str, Tensor]:
        """Batch ``step``: a function of (seed, step) alone."""
        rng = np.random.default_rng([self.seed, step])
        batch = draw(self.bank, rng, self.batch_size, self.cross_identity, self.wide)
        texture_pairs(batch, rng, self.texture)
        if self.stills is not None:
            mix_in_stills(batch, self.stills, rng, self.stills_share)
        if self.reads_motion:
            batch["driver"] = disturb(batch["driver"], rng)
        return batch

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """First what moved, then where to, then what it looks like (see the curriculum)."""
        for component in self.frozen:
            component.eval()  # or the running statistics would still move
        # One batch, as in BaseModel.forward, so that both are normalised alike.
        images = torch.cat([batch["source"], batch["driver"]])
        known = batch["known"]
        found: dict[str, Tensor] = {}
        if "places" in self.weights:
            motion, places = self.model.motion_encoder.look(images)
            truth = torch.cat([batch["places"], batch["driver_places"]])
            both = known.repeat(2)
            found["places"] = F.l1_loss(places[both], truth[both])
        else:
            motion = self.model.encode_motion(images)
        own, driving = motion.chunk(2)
        deviation = driving - own
        told = self.probe(deviation[known])
        found["parameters"] = F.mse_loss(told, batch["motion"][known] / self.spread)
        if step >= self.motion_from:
            weight = self.region_weight[batch["regions"].long()].unsqueeze(1)
            source = self.model.encode_source(batch["source"], own)
            if step >= self.appearance_from:
                rendered = self.model.decode(source, deviation)
                fields = rendered.fields
                found |= self._appearance(rendered.image, batch["target"], weight, step)
            else:
                fields = self.model.motion_decoder(source.volume, source.depth, deviation)
            found |= self._geometry(fields, batch, weight)
            if "depth" in self.weights:
                cues = [cue[known] for cue in source.depth]
                found["depth"] = self._depth(cues, batch["depth"][known], self.depth_span)
        found = {name: value for name, value in found.items() if name in self.weights}
        total = sum((self.weights[name] * value for name, value in found.items()), torch.zeros(()))
        return total, found

    @staticmethod
    def _geometry(
        fields: list[MotionField], batch: dict[str, Tensor], weight: Tensor
    ) -> dict[str, Tensor]:
        """Displacement in pixels of a 64-pixel frame where the truth is visible; and the mask."""
        visible = batch["visible"].unsqueeze(1)
        truth = batch["displacement"].movedim(-1, 1)
        flow = visible.new_zeros(())
        for field in fields:
            predicted = image_plane(field).movedim(-1, 1)
            size = (predicted.shape[-2], predicted.shape[-1])
            share = resize(visible * weight, size)
            target = resize(truth * visible * weight, size) / share.clamp(min=1e-4)
            distance = (predicted - target).square().sum(1, keepdim=True).add(1e-6).sqrt()
            flow = flow + (distance * share).sum() / share.sum().clamp(min=1.0)
        flow = flow * FLOW_SIZE / 2 / len(fields)
        kept = resize(fields[-1].mask, (FLOW_SIZE, FLOW_SIZE))
        # 0.982 is what a pixel shows that the decoder says nothing about; see the mask of LMDD.
        mask = F.binary_cross_entropy(
            (kept * 0.982).clamp(1e-4, 0.9999), visible, weight=weight.sqrt()
        )
        return {"flow": flow, "mask": mask}

    @staticmethod
    def _depth(cues: list[Tensor], depth: Tensor, span: float = HEAD_DEPTH) -> Tensor:
        truth = true_layer(depth, span)
        total = depth.new_zeros(())
        for cue in cues:
            total = total + F.l1_loss(expected_layer(cue), resize(truth, cue.shape[-2:]))
        return total / len(cues)

    def _appearance(
        self, image: Tensor, target: Tensor, weight: Tensor, step: int
    ) -> dict[str, Tensor]:
        wide = F.interpolate(weight, image.shape[-2:]).sqrt()
        found = {
            "image": losses.pixels(image, target, wide),
            "edges": losses.edges(image, target, wide),
        }
        if "structure" in self.weights:
            found["structure"] = losses.structure(image, target)
        if self.perceptual is not None:
            found["perceptual"] = losses.perceptual(self.perceptual, image, target)
        if self.critic is not None and step >= self.critic_from:
            found |= adversarial_losses(self.critic, image, target, weight.sqrt(), step)
        return found

    @torch.no_grad()
    def _held_out_batch(self, count: int) -> dict[str, Tensor]:
        batch = draw(self.held_out, np.random.default_rng(0), count, 0.0)
        return {name: value.to(self.device) for name, value in batch.items()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """PSNR in dB on held-out identities: the model, copying, and other motion features."""
        batch = self._held_out_batch(32)
        source = self.model.encode_source(batch["source"])
        deviation = self.model.encode_motion(batch["driver"]) - source.motion
        target = batch["target"]
        rendered = self.model.decode(source, deviation)
        truth, visible = batch["displacement"], batch["visible"]
        predicted = resize(rendered.displacement.movedim(-1, 1), truth.shape[1:3]).movedim(1, -1)
        error = (predicted - truth).norm(dim=-1) * FLOW_SIZE / 2
        other = self.model.decode(source, deviation.roll(1, 0)).image
        return {
            "psnr": float(psnr(rendered.image, target).mean()),
            "psnr_copy": float(psnr(batch["source"], target).mean()),
            "psnr_other_motion": float(psnr(other, target).mean()),
            "flow_px": float((error * visible).sum() / visible.sum()),
            "flow_px_zero": float(
                (truth.norm(dim=-1) * FLOW_SIZE / 2 * visible).sum() / visible.sum()
            ),
            "generated": float(rendered.generated.mean()),
            "hidden": float(1 - visible.mean()),
        }

    @torch.no_grad()
    def pictures(self) -> dict[str, Tensor]:
        """A grid: source, driving frame, result, warped source, generated share."""
        batch = self._held_out_batch(6)
        rendered = self.model(batch["source"], batch["driver"])
        share = resize(rendered.generated, batch["source"].shape[-2:]).expand(-1, 3, -1, -1)
        rows = [batch["source"], batch["driver"], rendered.image, rendered.warped, share]
        return {"held_out": torch.cat([torch.cat(list(row), -1) for row in rows], -2)}


def draw(
    bank: PairBank, rng: np.random.Generator, count: int, cross_identity: float, wide: float = 0.0
) -> dict[str, Tensor]:
    """``count`` random pairs; in a share of ``cross_identity`` another person drives.

    A share ``wide`` more of them than chance has it are of two free poses. Every tenth pair rests:
    the driver shows the source's own motion on another face.
    """
    group = rng.integers(bank.groups, size=count)
    person = rng.integers(PEOPLE, size=count)
    pair = rng.integers(len(PAIRS), size=count)
    if wide:
        pair = np.where(rng.random(count) < wide, rng.choice(WIDE, count), pair)
    source, driving = np.asarray(PAIRS)[pair].T
    rest = rng.random(count) < (0.1 if cross_identity else 0.0)
    driving = np.where(rest, source, driving)
    crossed = (rng.random(count) < cross_identity) | rest
    driver = np.where(crossed, 1 - person, person)
    displacement = bank.displacement[group, person, pair].astype(np.float32)
    visible = bank.visible[group, person, pair].astype(np.float32) / 255
    displacement[rest], visible[rest] = 0, 1
    motion = _told(bank, group, person, driving) - _told(bank, group, person, source)
    return {
        "source": _image(bank.frames[group, person, source]),
        "target": _image(bank.frames[group, person, driving]),
        "driver": _image(bank.frames[group, driver, driving]),
        "regions": torch.from_numpy(bank.regions[group, person, driving]),
        "displacement": torch.from_numpy(displacement),
        "visible": torch.from_numpy(visible),
        "motion": torch.from_numpy(motion),
        "depth": torch.from_numpy(bank.depth[group, person, source].astype(np.float32)),
        "places": _places(bank.landmarks[group, person, source]),
        "driver_places": _places(bank.landmarks[group, driver, driving]),
        "known": torch.ones(count, dtype=torch.bool),
    }


def _told(bank: PairBank, group: np.ndarray, person: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """What motion features are to tell of frames, (B, R): the head's parameters, and where in the
    frame a body's arms are, which says more about a picture than the angles of their joints.
    """
    head = bank.motion[group, frame][:, : len(MOTION)]
    arms = bank.landmarks[group, person, frame][:, len(LANDMARK_NAMES) :]
    return np.concatenate([head, arms.reshape(len(head), -1)], axis=1)


def _image(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).movedim(-1, 1).float().div_(255)


def _places(landmarks: np.ndarray) -> Tensor:
    """Landmarks (B, L, 2) in fractions of the frame → mouth and eyes (B, 3, 2) in [-1, 1]."""
    means = [landmarks[:, indices].mean(1) for indices in _PLACES]
    return torch.from_numpy(np.stack(means, 1) * 2 - 1)
