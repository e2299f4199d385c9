"""How each kind of component is called: shapes, ranges and the settings models pass in.

Throughout: B batch, S image side in pixels, images (B, 3, S, S) in [0, 1]; 25 frames a second;
waves mono at 16 kHz in [-1, 1], 640 samples a frame; CS appearance channels, DF depth layers;
M motion numbers, W frames of a window, N frames of a track, F and E audio features. Displacements
are in the normalised coordinates of ``torch.nn.functional.grid_sample`` with
``align_corners=False`` (x, y, z; the volume spans -1 to 1), added to the identity grid.

A class satisfies a protocol by having its call; it need not inherit from it. Where sizes must
agree across a model, the model passes them as keyword arguments beside those of the
configuration; each protocol lists them under *Passed in*.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class MotionField(NamedTuple):
    """Motion at one scale of the decoder.

    Attributes:
        displacement: (B, DF, h, w, 3), where each depth layer of the volume is sampled.
        weight: (B, DF, h, w), summing to one over DF, that mixes the layers' x and y into the one
            field (B, h, w, 2) seen in the image plane; None for equal weights.
        mask: (B, 1, h, w) in [0, 1]: how far the warped source explains a pixel; the rest is for
            the renderer to generate.
    """

    displacement: Tensor
    weight: Tensor | None
    mask: Tensor


class Encoder(Protocol):
    """``encoders``: an image to its appearance.

    Attributes:
        channels: CS of the volume.
        layers: DF of the volume.
        skip_channels: channels of each skip, coarse first.
    """

    channels: int
    layers: int
    skip_channels: list[int]

    def __call__(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, S, S) → volume (B, CS, DF, S/4, S/4) and skips [(B, C_s, ·, ·)] at S/4, S/2, S."""
        ...


class Depth(Protocol):
    """``depth``: which depth layer the appearance lies in, per pixel and scale.

    Passed in: ``channels`` (CS), ``layers`` (DF).
    """

    def __call__(self, volume: Tensor) -> list[Tensor]:
        """(B, CS, DF, h, w) → [(B, DF, h·s, w·s)] for s = ½, 1, 2, each summing to one over DF."""
        ...


class MotionEncoder(Protocol):
    """``motion_encoders``: the deviation image transformer, a frame to its motion feature MD.

    It resizes frames as it needs. One that searches them for mouth, left and right eye may have
    ``look``, (B, 3, S, S) → MD and the places found (B, 3, 2) in [-1, 1], which training can then
    supervise and ``details`` need.

    Passed in: ``motion_size`` (M).
    """

    def __call__(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) → (B, M)."""
        ...


class MotionDecoder(Protocol):
    """``motion_decoders``: the LMDD, deviations to displacement fields and masks.

    Passed in: ``channels`` (CS), ``layers`` (DF), ``motion_size`` (M).
    """

    def __call__(self, volume: Tensor, depth: list[Tensor], deviation: Tensor) -> list[MotionField]:
        """Volume (B, CS, DF, h, w), depth cues at ½, 1 and 2 times h × w, deviation (B, M) of the
        driving frame from the source → one field a scale, coarse first. A deviation of zero must
        give (almost) no motion.
        """
        ...


class Renderer(Protocol):
    """``renderers``: the MAD and the image decoder, warped appearance to a frame.

    Passed in: ``channels`` (CS), ``layers`` (DF), ``skip_channels`` (of each skip).
    """

    def __call__(
        self, volume: Tensor, skips: list[Tensor], masks: list[Tensor], source: Tensor
    ) -> Tensor:
        """Warped volume, warped skips (coarse first), the fields' masks and the warped source
        image (B, 3, S, S) → image (B, 3, S, S) in [0, 1].
        """
        ...


class Details(Protocol):
    """``details``: what is drawn again in a frame, around mouth and eyes.

    Passed in: ``motion_size`` (M).
    """

    def __call__(self, image: Tensor, warped: Tensor, places: Tensor, deviation: Tensor) -> Tensor:
        """The renderer's frame and the warped source, both (B, 3, S, S) in [0, 1], the places of
        mouth, left and right eye in the frame (B, 3, 2) in [-1, 1], deviation (B, M) → image
        (B, 3, S, S) in [0, 1]. A deviation of zero must change (almost) nothing.
        """
        ...


class Frontend(Protocol):
    """``frontends``: a wave to features, one a video frame.

    One that need not hear the whole track may have ``advance``, as extractors: wave (B, 640 n),
    ``keep`` and a state → features (B, n, F) and the state after ``keep`` frames.

    Attributes:
        features: F, how many numbers a frame gets.
    """

    features: int

    def __call__(self, wave: Tensor) -> Tensor:
        """(B, T) → (B, ceil(T / 640), F)."""
        ...


class Extractor(Protocol):
    """``extractors``: audio features to context.

    One that sees the whole track may have ``advance``, to hear it while it arrives: features
    (B, n, F), ``keep`` and a state, None at first → context (B, n, E) and the state after ``keep``
    frames; the rest is heard in advance and comes again. One with a window needs none.

    Passed in: ``features`` (F).

    Attributes:
        window: how many frames it sees on each side of a frame; None for the whole track.
        context: E, how many numbers a frame gets.
    """

    window: int | None
    context: int

    def __call__(self, features: Tensor) -> Tensor:
        """(B, N, F) → (B, N, E)."""
        ...


class Backbone(Protocol):
    """``backbones``: the denoiser of the motion model, predicting clean motion (x0).

    Passed in: ``motion_size`` (M), ``context`` (E, summed over extractors), ``source_size``,
    ``previous`` (how many past frames it receives), ``window`` (W).
    """

    def __call__(
        self, noisy: Tensor, t: Tensor, audio: Tensor, source: Tensor, past: Tensor
    ) -> Tensor:
        """Noisy motion (B, W, M), step t (B,), audio (B, W, E), source (B, source_size),
        past (B, previous, M) → (B, W, M).
        """
        ...


class Perceptual(Protocol):
    """``perceptual``: an image to feature maps in which images are compared."""

    def __call__(self, image: Tensor) -> list[Tensor]:
        """(B, 3, S, S) → [(B, C_i, h_i, w_i)]."""
        ...


PROTOCOLS: dict[str, type] = {
    "encoders": Encoder,
    "depth": Depth,
    "motion_encoders": MotionEncoder,
    "motion_decoders": MotionDecoder,
    "renderers": Renderer,
    "details": Details,
    "frontends": Frontend,
    "extractors": Extractor,
    "backbones": Backbone,
    "perceptual": Perceptual,
}
"""The protocol of each kind that is a network."""
