"""Stage 2 on sound that is still arriving: motion with a bounded look-ahead."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from motion_lab.errors import UsageError
from motion_lab.models.motion_model import FRAME, MotionModel


class MotionStream:
    """Motion of one portrait while its sound arrives, ``hop`` frames at a time.

    A frame of motion depends on the sound up to ``look_ahead`` frames after the hop that the next
    frame lies in (`MotionModel.steady`), never on how the sound was cut into pieces on its way.
    Frontend and extractors remember what they need of the past (`advance`; an extractor with a
    bounded window is shown that window again), so a minute costs the same however long the stream
    has been going on.

    Args:
        model: what moves the portrait; its frontend and extractors must be able to stream.
        source_motion: MD of the portrait, (1, M).
        hop: frames drawn together. Motion is late by up to hop + look_ahead + 1 frames.
        look_ahead: frames of sound heard in advance, 0 or more.
        first, steps, guidance, past_guidance, generator: as of :meth:`MotionModel.generate`.

    Raises:
        UsageError: a component of the model cannot stream.
        ValueError: hop or look_ahead is out of range, or source_motion of a wrong shape.
    """

    def __init__(
        self,
        model: MotionModel,
        source_motion: Tensor,
        *,
        hop: int = 10,
        look_ahead: int = 5,
        first: Tensor | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        past_guidance: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        if hop < 1 or look_ahead < 0:
            raise ValueError(f"hop must be at least 1 and look_ahead 0, got {hop} and {look_ahead}")
        if source_motion.shape != (1, model.motion_size):
            raise ValueError(
                f"source_motion must be (1, {model.motion_size}), got {tuple(source_motion.shape)}"
            )
        if not hasattr(model.frontend, "advance"):
            raise UsageError(_cannot(f"the frontend {type(model.frontend).__name__}"))
        self._extractors = [_advance_of(extractor) for extractor in model.extractors]
        self.model, self.hop, self.look_ahead = model, hop, look_ahead
        self._steps, self._scales = model.sampling(steps, guidance, past_guidance)
        self._generator = generator
        self._source, self._past = model.begin(source_motion, first)
        self._waiting = source_motion.new_zeros(1, 0)  # sound not drawn yet
        self._last: Tensor | None = None  # the two frames drawn last, not steadied
        self._sounds: Any = None
        self._contexts: list[Any] = [None] * len(model.extractors)

    def hear(self, wave: Tensor) -> Tensor:
        """More sound, (1, T) at 16 kHz in [-1, 1] → the motion it settles, (1, F, M), F ≥ 0."""
        return self._steady(self._draw(wave))

    def finish(self) -> Tensor:
        """The motion of what was heard and not yet given, (1, F, M); silence follows it."""
        frames = -(-self._waiting.shape[1] // FRAME)
        hops = -(-frames // self.hop)
        missing = (hops * self.hop + self.look_ahead) * FRAME - self._waiting.shape[1]
        drawn = self._draw(self._waiting.new_zeros(1, missing if hops else 0))[:, :frames]
        motion = self._steady(drawn)
        if self._last is None:
            return motion
        # As in `generate`, nothing moves after the last frame.
        motion = torch.cat([motion, self._steady(self._last[:, 1:])], 1)
        self._last = None
        return motion

    def _draw(self, wave: Tensor) -> Tensor:
        self._waiting = torch.cat([self._waiting, wave.to(self._waiting)], 1)
        drawn = [self._waiting.new_zeros(1, 0, self.model.motion_size)]
        while self._waiting.shape[1] >= (self.hop + self.look_ahead) * FRAME:
            drawn.append(self._advance())
        return torch.cat(drawn, 1)

    def _steady(self, drawn: Tensor) -> Tensor:
        """Frames drawn (1, F, M) → those steadied: from the one that waited on, but the last."""
        if not drawn.shape[1]:
            return drawn
        known = torch.cat([drawn[:, :1] if self._last is None else self._last, drawn], 1)
        self._last = known[:, -2:]
        return self.model.steady(known)

    @torch.no_grad()
    def _advance(self) -> Tensor:
        wave = self._waiting[:, : (self.hop + self.look_ahead) * FRAME]
        self._waiting = self._waiting[:, self.hop * FRAME :]
        features, self._sounds = self.model.frontend.advance(wave, self.hop, self._sounds)
        contexts = []
        for index, advance in enumerate(self._extractors):
            context, self._contexts[index] = advance(features, self.hop, self._contexts[index])
            contexts.append(context)
        audio = torch.cat(contexts, 2)
        motion = self.model.draw(
            audio, self._source, self._past, self._steps, self._scales, self._generator
        )[:, : self.hop]
        self._past = torch.cat([self._past, motion], 1)[:, -self.model.previous :]
        return self.model.restore(motion)


def _advance_of(extractor: Any) -> Any:
    """Its own `advance`; or, where it sees ``window`` frames on each side, one that shows these."""
    if hasattr(extractor, "advance"):
        return extractor.advance
    if extractor.window is None:
        raise UsageError(_cannot(f"the extractor {type(extractor).__name__}"))

    def advance(features: Tensor, keep: int, past: Tensor | None) -> tuple[Tensor, Tensor]:
        known = features if past is None else torch.cat([past, features], 1)
        before = known.shape[1] - features.shape[1]
        settled = known[:, : before + keep]
        seen = settled[:, max(0, settled.shape[1] - extractor.window) :]
        return extractor(known)[:, before:], seen

    return advance


def _cannot(what: str) -> str:
    return (
        f"{what} cannot stream: it must have heard the whole track. The frontend log_mel can, and "
        "so can the extractor mamba_g, and all that see a window."
    )
