"""For each kind of network: what a model passes in, inputs to try, and what outputs must be.

The shapes are those of :mod:`motion_lab.components.protocols`, with every size small and unlike the
others, so that a mix-up of two sizes cannot go unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

import registry
from motion_lab.errors import UsageError

CHANNELS, LAYERS = 6, 3  # of the volume
IMAGE, PLANE = 32, 8  # sides of image and volume
SKIPS = (10, 7, 5)
MOTION = 24  # a multiple of 6, which keypoint motion needs
FEATURES, FRAMES, FRAME = 20, 9, 640
CONTEXT, SOURCE, PREVIOUS, WINDOW = 14, 22, 4, 8
SCALES = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Subject:
    """A component under test.

    Args:
        kind: one of :data:`CHECKED_KINDS`.
        spec: its name, or a mapping of ``name`` and keyword arguments.

    Raises:
        UsageError: for a kind that has no checks.
    """

    kind: str
    spec: str | Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.kind not in CHECKED_KINDS:
            raise UsageError(
                f"there are no conformance checks for {self.kind!r}; there are for "
                f"{', '.join(CHECKED_KINDS)}."
            )

    def make(self, **passed: Any) -> Any:
        """The component, given what a caller passes in beside its own settings."""
        return registry.of_kind(self.kind).build(self.spec, **passed)

    # What follows is for networks.

    def build(self, seed: int = 0) -> nn.Module:
        """The component as a model would build it, initialised from ``seed``."""
        torch.manual_seed(seed)
        return self.make(**NETWORKS[self.kind].passed)

    def inputs(self, batch: int = 2, seed: int = 0) -> tuple[Any, ...]:
        """Random inputs of its call."""
        return NETWORKS[self.kind].inputs(batch, torch.Generator().manual_seed(seed))

    def verify(self, module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        """Raise AssertionError unless ``outputs`` have the shapes and ranges of the kind."""
        NETWORKS[self.kind].verify(module, inputs, outputs)


@dataclass(frozen=True)
class Kind:
    """Passed-in arguments, inputs (batch, generator), and what outputs must satisfy."""

    passed: dict[str, Any]
    inputs: Callable[[int, Generator], tuple[Any, ...]]
    verify: Callable[[nn.Module, tuple[Any, ...], Any], None]


def expect_shape(what: str, value: Any, shape: tuple[int, ...]) -> None:
    """Raise AssertionError unless ``value`` is a tensor of ``shape``."""
    assert isinstance(value, Tensor), f"{what} must be a tensor, got {type(value).__name__}"
    assert tuple(value.shape) == shape, f"{what} must be {shape}, got {tuple(value.shape)}"


def _expect_range(what: str, value: Tensor) -> None:
    low, high = value.min().item(), value.max().item()
    assert -1e-5 <= low <= high <= 1 + 1e-5, f"{what} must lie in [0, 1], got {low:g} to {high:g}"


def _expect_sum_to_one(what: str, value: Tensor) -> None:
    total = value.sum(1)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-4), (
        f"{what} must sum to one over the layers, got {total.min():g} to {total.max():g}"
    )


def _expect_list(what: str, value: Any, length: int | None = None) -> None:
    assert isinstance(value, list | tuple), f"{what} must be a list, got {type(value).__name__}"
    assert length is None or len(value) == length, f"{what} must be {length}, got {len(value)}"


def _image(batch: int, generator: Generator) -> tuple[Tensor]:
    return (torch.rand(batch, 3, IMAGE, IMAGE, generator=generator),)


def _volume(batch: int, generator: Generator) -> Tensor:
    return torch.randn(batch, CHANNELS, LAYERS, PLANE, PLANE, generator=generator)


def _cues(batch: int, generator: Generator) -> list[Tensor]:
    sides = [int(PLANE * scale) for scale in SCALES]
    return [torch.randn(batch, LAYERS, s, s, generator=generator).softmax(1) for s in sides]


def _verify_encoder(module: Any, inputs: tuple[Any, ...], outputs: Any) -> None:
    batch = len(inputs[0])
    _expect_list("the result (volume, skips)", outputs, 2)
    volume, skips = outputs
    side = IMAGE // 4
    expect_shape("the volume", volume, (batch, module.channels, module.layers, side, side))
    _expect_list("the skips", skips, len(module.skip_channels))
    sides = (IMAGE // 4, IMAGE // 2, IMAGE)
    for skip, channels, s in zip(skips, module.skip_channels, sides, strict=True):
        expect_shape("a skip", skip, (batch, channels, s, s))


def _verify_depth(module: Any, inputs: tuple[Any, ...], outputs: Any) -> None:
    _expect_list("the depth cues", outputs, len(SCALES))
    for cue, scale in zip(outputs, SCALES, strict=True):
        side = int(PLANE * scale)
        expect_shape(f"the cue at scale {scale}", cue, (len(inputs[0]), LAYERS, side, side))
        _expect_range("a depth cue", cue)
        _expect_sum_to_one("a depth cue", cue)


def _verify_motion(module: Any, inputs: tuple[Any, ...], outputs: Any) -> None:
    expect_shape("the motion feature", outputs, (len(inputs[0]), MOTION))


def _verify_fields(module: Any, inputs: tuple[Any, ...], outputs: Any) -> None:
    batch = len(inputs[0])
    _expect_list("the fields", outputs, len(SCALES))
    for motion, scale in zip(outputs, SCALES, strict=True):
        plane = (int(PLANE * scale),) * 2
        expect_shape("a displacement", motion.displacement, (batch, LAYERS, *plane, 3))
        expect_shape("a mask", motion.mask, (batch, 1, *plane))
        _expect_range("a mask", motion.mask)
        if motion.weight is not None:
            expect_shape("a weight", motion.weight, (batch, LAYERS, *plane))
            _expect_sum_to_one("a weight", motion.weight)


def _renderer_inputs(batch: int, generator: Generator) -> tuple[Any, ...]:
    skips = [
        torch.randn(batch, channels, PLANE * 2**i, PLANE * 2**i, generator=generator)
        for i, channels in enumerate(SKIPS)
    ]
    sides = [int(PLANE * scale) for scale in SCALES]
    masks = [torch.rand(batch, 1, side, side, generator=generator) for side in sides]
    # Larger than the encoder's: the warp moves the source's own pixels.
    source = torch.rand(batch, 3, 2 * IMAGE, 2 * IMAGE, generator=generator)
    return _volume(batch, generator), skips, masks, source


def _verify_image(module: Any, inputs: tuple[Any, ...], outputs: Any) -> None:
    expect_shape("the image", outputs, tuple(inputs[3].shape))
    _expect_range("the image", outputs)


def _details_inputs(batch: int, generator: Generator) -> tuple[Any, ...]:
    return (
        *(torch.rand(batch, 3, 2 * IMAGE, 2 * IMAGE, generator=generator) for _ in range(2)),
        torch.rand(batch, 3, 2, generator=generator) - 0.5,
        torch.randn(batch, MOTION, generator=generator),
    )


def _verify_details(module: Any, inputs: tuple[Any, ...], outputs: Any) -> None:
    expect_shape("the image", outputs, tuple(inputs[0].shape))
    _expect_range("the image", outputs)


def _verify_frontend(module: Any, inputs: tuple[Any, ...], outputs: Any) -> None:
    batch, samples = inputs[0].shape
    expect_shape("the features", outputs, (batch, -(-samples // FRAME), module.features))


def _verify_extractor(module: Any, inputs: tuple[Any, ...], outputs: Any) -> None:
    expect_shape("the context", outputs, (*inputs[0].shape[:2], module.context))


def _backbone_inputs(batch: int, generator: Generator) -> tuple[Any, ...]:
    return (
        torch.randn(batch, WINDOW, MOTION, generator=generator),
        torch.randint(0, 1000, (batch,), generator=generator),
        torch.randn(batch, WINDOW, CONTEXT, generator=generator),
        torch.randn(batch, SOURCE, generator=generator),
        torch.randn(batch, PREVIOUS, MOTION, generator=generator),
    )


def _verify_backbone(module: Any, inputs: tuple[Any, ...], outputs: Any) -> None:
    expect_shape("the clean motion", outputs, tuple(inputs[0].shape))


def _verify_perceptual(module: Any, inputs: tuple[Any, ...], outputs: Any) -> None:
    _expect_list("the feature maps", outputs)
    for features in outputs:
        expect_shape("a feature map", features, (len(inputs[0]), *features.shape[1:]))
        assert features.ndim == 4, f"a feature map must be (B, C, h, w), got {features.shape}"


_VOLUME = {"channels": CHANNELS, "layers": LAYERS}

NETWORKS: dict[str, Kind] = {
    "encoders": Kind({}, _image, _verify_encoder),
    "depth": Kind(_VOLUME, lambda batch, g: (_volume(batch, g),), _verify_depth),
    "motion_encoders": Kind({"motion_size": MOTION}, _image, _verify_motion),
    "motion_decoders": Kind(
        {"motion_size": MOTION, **_VOLUME},
        lambda batch, g: (
            _volume(batch, g),
            _cues(batch, g),
            torch.randn(batch, MOTION, generator=g),
        ),
        _verify_fields,
    ),
    "renderers": Kind({"skip_channels": list(SKIPS), **_VOLUME}, _renderer_inputs, _verify_image),
    "details": Kind({"motion_size": MOTION}, _details_inputs, _verify_details),
    "frontends": Kind(
        {},
        # Not a whole number of frames: the last one is short.
        lambda batch, g: (0.1 * torch.randn(batch, FRAMES * FRAME - 100, generator=g),),
        _verify_frontend,
    ),
    "extractors": Kind(
        {"features": FEATURES},
        lambda batch, g: (torch.randn(batch, FRAMES, FEATURES, generator=g),),
        _verify_extractor,
    ),
    "backbones": Kind(
        {
            "motion_size": MOTION,
            "context": CONTEXT,
            "source_size": SOURCE,
            "previous": PREVIOUS,
            "window": WINDOW,
        },
        _backbone_inputs,
        _verify_backbone,
    ),
    "perceptual": Kind({}, _image, _verify_perceptual),
}

CHECKED_KINDS = (*NETWORKS, "datasets", "metrics")
"""The kinds that conformance checks exist for. The op_backends have their tests in `tests/ops`."""
