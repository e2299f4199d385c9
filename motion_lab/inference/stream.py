"""A portrait that speaks while its sound arrives: sound in, frames out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from motion_lab.data.audio import Wave
from motion_lab.data.portrait import Image, crop_portrait, find_face, frame_face, load_image
from motion_lab.inference.animate import Models, render
from motion_lab.inference.motion import to_tensor
from motion_lab.models.motion_stream import MotionStream

# Frames drawn at a time: few at first, so that the first is there soon, then a hop, which is a
# fifth faster.
_FIRST_BATCH, _BATCH = 4, 10


class Stream:
    """Frames of one portrait, drawn as soon as the sound that they depend on is there.

    A frame is drawn when its hop, and ``look_ahead`` frames after that, have been heard.

    Args:
        portrait: a picture with a face.
        models: both stages, as :func:`motion_lab.inference.animate.load_models` gives them.
        hop, look_ahead: in frames of 25 a second, as of
            :class:`~motion_lab.models.motion_stream.MotionStream`.
        seed: the same gives the same motion.
        steps, guidance: as of :meth:`~motion_lab.models.motion_model.MotionModel.generate`.

    Raises:
        UsageError: there is no such picture, no face in it, or the model cannot stream.
    """

    def __init__(
        self,
        portrait: Path,
        models: Models,
        *,
        hop: int = 10,
        look_ahead: int = 5,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> None:
        assert models.motion is not None, "a stream needs both stages"
        self.base, self.size = models.base, models.base.image_size
        picture = load_image(portrait)
        crop, _ = crop_portrait(picture, self.size, frame_face(find_face(picture, str(portrait))))
        self._device = next(models.base.parameters()).device
        self._batch = _FIRST_BATCH
        with torch.inference_mode():
            self._source = models.base.encode_source(to_tensor([crop], self._device))
            self._motion = MotionStream(
                models.motion,
                self._source.motion,
                hop=hop,
                look_ahead=look_ahead,
                steps=steps,
                guidance=guidance,
                # On the CPU whatever the device, so that a seed means the same everywhere.
                generator=torch.Generator().manual_seed(seed),
            )

    def hear(self, wave: Wave) -> Iterator[Image]:
        """More sound, (T,) at 16 kHz in [-1, 1] → the frames (S, S, 3) uint8 that it settles."""
        with torch.inference_mode():
            yield from self._draw(self._motion.hear(torch.from_numpy(wave)[None].to(self._device)))

    def finish(self) -> Iterator[Image]:
        """The frames that waited for more sound; none will come."""
        with torch.inference_mode():
            yield from self._draw(self._motion.finish())

    def _draw(self, motion: Tensor) -> Iterator[Image]:
        if motion.shape[1]:
            batch, self._batch = self._batch, _BATCH
            yield from render(self.base, self._source, motion[0], batch)
