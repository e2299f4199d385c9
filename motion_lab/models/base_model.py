"""Stage 1: a portrait and the motion of a frame become that frame (DESIGN: the base model)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import registry
from motion_lab.components.blocks import expected_positions, moved, pixel_centres, resize
from motion_lab.components.protocols import MotionField
from motion_lab.errors import UsageError
from motion_lab.models.contracts import Spec, expect

_NEAR = 0.03  # about a cell of a field that has 64 across


class Source(NamedTuple):
    """What the model knows of a portrait, computed once and reused for every frame."""

    image: Tensor  # (B, 3, S, S) in [0, 1]
    volume: Tensor  # (B, CS, DF, h, w)
    depth: list[Tensor]  # per scale (B, DF, ·, ·)
    skips: list[Tensor]  # coarse to fine
    motion: Tensor  # (B, M), MD of the portrait
    places: Tensor | None = None  # (B, 3, 2), mouth and eyes in [-1, 1], where details are drawn

    def expand(self, frames: int) -> Source:
        """A source of batch 1 as a batch of ``frames``, without copies."""

        def grow(x: Tensor) -> Tensor:
            return x.expand(frames, *x.shape[1:])

        return Source(
            grow(self.image),
            grow(self.volume),
            [grow(x) for x in self.depth],
            [grow(x) for x in self.skips],
            grow(self.motion),
            None if self.places is None else grow(self.places),
        )


class Rendered(NamedTuple):
    """One decoded batch of frames and what they were made from."""

    image: Tensor  # (B, 3, S, S) in [0, 1]
    displacement: Tensor  # (B, h, w, 2), normalised: the finest field in the image plane
    generated: Tensor  # (B, 1, h, w), share of each pixel that was generated
    warped: Tensor  # (B, 3, S, S), the source moved by the displacement
    fields: list[MotionField]


class BaseModel(nn.Module):
    """Image encoder, depth cues, deviation transformer, LMDD, warping and MAD, each by name.

    ``image_size`` is the size of source and output; appearance is encoded and motion decoded at
    ``working_size``, and the warp moves the source's own pixels at full size. Components are
    specs of the registry: a name, or a mapping with ``name`` and keyword arguments. ``detail``,
    which draws mouth and eyes again, may be left out.

    Raises:
        UsageError: there is a ``detail``, and a motion encoder that does not find mouth and eyes.
    """

    def __init__(
        self,
        image_size: int = 256,
        working_size: int = 128,
        motion_size: int = 64,
        encoder: Spec = "conv_volume",
        depth: Spec = "learned",
        motion_encoder: Spec = "deviation",
        motion_decoder: Spec = "lmdd",
        renderer: Spec = "mad",
        detail: Spec | None = None,
    ) -> None:
        super().__init__()
        self.image_size, self.working_size = image_size, working_size
        self.motion_size = motion_size
        self.recompute = False
        """Keep no activations of the large parts for the backward pass, but compute them again:
        less memory, a third more time, and batch norms see every batch twice."""
        self._specs: dict[str, Any] = {
            "encoders": encoder,
            "depth": depth,
            "motion_encoders": motion_encoder,
            "motion_decoders": motion_decoder,
            "renderers": renderer,
            "details": detail,
        }
        self.encoder: Any = registry.ENCODERS.build(encoder)
        volume = {"channels": self.encoder.channels, "layers": self.encoder.layers}
        self.depth = registry.DEPTH.build(depth, **volume)
        self.motion_encoder = registry.MOTION_ENCODERS.build(
            motion_encoder, motion_size=motion_size
        )
        self.motion_decoder = registry.MOTION_DECODERS.build(
            motion_decoder, motion_size=motion_size, **volume
        )
        self.renderer = registry.RENDERERS.build(
            renderer, skip_channels=self.encoder.skip_channels, **volume
        )
        self.detail = None
        if detail is not None:
            if not hasattr(self.motion_encoder, "look"):
                raise UsageError(
                    "model.detail draws where the motion encoder finds mouth and eyes, and this "
                    "one does not search; set model.motion_encoder=deviation_windows, or leave "
                    "the detail out"
                )
            self.detail = registry.DETAILS.build(detail, motion_size=motion_size)

    def encode_source(self, image: Tensor, motion: Tensor | None = None) -> Source:
        """Portraits (B, 3, S, S) in [0, 1] → :class:`Source`; ``motion``: their MD, if known."""
        view = resize(image, (self.working_size, self.working_size))
        volume, skips = self._run(self.encoder, view)
        plane = volume.shape[-2:]
        shape = (self.encoder.channels, self.encoder.layers, *plane)
        self._expect("encoders", "the volume", volume, len(image), *shape)
        places = None
        if self.detail is not None:
            own, places = self.motion_encoder.look(image)
            motion = own if motion is None else motion
        elif motion is None:
            motion = self.encode_motion(image)
        depth = self.depth(volume)
        for cue, size in zip(depth, _planes(*plane), strict=False):
            self._expect("depth", "a cue", cue, len(image), self.encoder.layers, *size)
        return Source(image, volume, depth, skips, motion, places)

    def encode_motion(self, image: Tensor) -> Tensor:
        """Frames (B, 3, S, S) in [0, 1] → MD (B, M)."""
        motion = self.motion_encoder(image)
        self._expect("motion_encoders", "MD", motion, len(image), self.motion_size)
        return motion

    def decode(self, source: Source, deviation: Tensor) -> Rendered:
        """Move ``source`` by ``deviation`` (B, M), MD(driving) − MD(source).

        A zero deviation returns the source itself.
        """
        fields = self._run(self.motion_decoder, source.volume, source.depth, deviation)
        layers, *size = source.volume.shape[2:]
        for field, plane in zip(fields, _planes(*size), strict=False):
            batch = len(deviation)
            self._expect("motion_decoders", "a mask", field.mask, batch, 1, *plane)
            shape = (batch, layers, *plane, 3)
            self._expect("motion_decoders", "displacement", field.displacement, *shape)
        own = next(field for field in fields if list(field.mask.shape[-2:]) == size)
        layered = source.volume * source.depth[len(source.depth) // 2].unsqueeze(1)
        volume = moved(layered, own.displacement)
        planes = [image_plane(field) for field in fields]
        skips = [moved(skip, _resize_field(_nearest(planes, skip), skip)) for skip in source.skips]
        warped = moved(source.image, _resize_field(planes[-1], source.image))
        masks = [field.mask for field in fields]
        image = self._run(self.renderer, volume, skips, masks, warped)
        self._expect("renderers", "the frame", image, *warped.shape)
        if self.detail is not None:
            assert source.places is not None
            places = carried(source.places, planes[-1])
            image = self._run(self.detail, image, warped, places, deviation)
            self._expect("details", "the frame", image, *warped.shape)
        return Rendered(image, planes[-1], 1 - masks[-1], warped, fields)

    def _expect(self, kind: str, what: str, value: Any, *shape: int) -> None:
        expect(kind, self._specs[kind], what, value, shape)

    def _run(self, part: nn.Module, *inputs: Any) -> Any:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)

    def forward(self, source_image: Tensor, driving_image: Tensor) -> Rendered:
        """Portraits and driving frames of the same person, both (B, 3, S, S) → the frames."""
        # One batch, so that in training both are normalised alike: sources mostly rest, and
        # statistics of their own would blow the little they differ up to the size of a motion.
        motion = self.encode_motion(torch.cat([source_image, driving_image]))
        own, driving = motion.chunk(2)
        return self.decode(self.encode_source(source_image, own), driving - own)


def _planes(h: int, w: int) -> list[tuple[int, int]]:
    """The sizes of depth cues and fields, coarse first, beside a volume's."""
    return [(int(scale * h), int(scale * w)) for scale in (0.5, 1, 2)]


def image_plane(field: MotionField) -> Tensor:
    """The displacement seen in the image plane, layers mixed by weight: (B, h, w, 2)."""
    displacement = field.displacement[..., :2]
    if field.weight is None:
        return displacement.mean(1)
    return (displacement * field.weight.unsqueeze(-1)).sum(1)


def carried(places: Tensor, displacement: Tensor) -> Tensor:
    """Where places (B, K, 2) of the source are in the frame that a field (B, h, w, 2) makes of it.

    The field tells where every cell comes from: a place is at the mean of the cells that come from
    near it, weighted by how near.
    """
    h, w = displacement.shape[1:3]
    origins = displacement.float() + pixel_centres(h, w, displacement).float()
    distance = (origins.unsqueeze(1) - places[:, :, None, None]).square().sum(-1)
    return expected_positions(-distance, temperature=2 * _NEAR**2)[0]


def _nearest(planes: list[Tensor], skip: Tensor) -> Tensor:
    return min(planes, key=lambda plane: abs(plane.shape[1] - skip.shape[-1]))


def _resize_field(displacement: Tensor, like: Tensor) -> Tensor:
    return resize(displacement.movedim(-1, 1), like.shape[-2:]).movedim(1, -1)
