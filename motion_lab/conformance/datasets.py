"""The checks of datasets: clips that stage 2 can be trained on, the same whenever they are made."""

from __future__ import annotations

import functools
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from motion_lab.configs.loading import load_config
from motion_lab.conformance.kinds import FRAME, Subject
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.models.base_model import BaseModel
from motion_lab.training.motion_data import Clip, MotionClips


def clips(subject: Subject) -> None:
    """There are clips to train on and to validate on, of the shapes and ranges of ``Clip``."""
    with TemporaryDirectory() as folder:
        made = _made(subject, folder)
    for name, some in made._asdict().items():
        assert len(some) > 0, f"{name} holds no clip"
        for clip in some:
            _verify(name, clip)


def repeatability(subject: Subject) -> None:
    """Made anew, and read from the folder that it was kept in, a dataset is the same."""
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        first, kept, anew = _made(subject, one), _made(subject, one), _made(subject, other)
    for what, second in (("kept in its folder", kept), ("made anew", anew)):
        for a, b in zip(
            [*first.train, *first.held_out], [*second.train, *second.held_out], strict=True
        ):
            same = all(
                np.array_equal(np.asarray(x), np.asarray(y)) for x, y in zip(a, b, strict=True)
            )
            assert same, f"a clip differs when it is {what}"


def held_out(subject: Subject) -> None:
    """No clip is both trained and validated on."""
    with TemporaryDirectory() as folder:
        made = _made(subject, folder)
    trained = {clip.wave.tobytes() for clip in made.train}
    shared = sum(clip.wave.tobytes() in trained for clip in made.held_out)
    assert not shared, f"{shared} held-out clips are trained on as well"


CHECKS = (clips, repeatability, held_out)


def _made(subject: Subject, folder: str) -> MotionClips:
    made: MotionClips = subject.make(base=_base(), folder=Path(folder))
    return made


@functools.cache
def _base() -> BaseModel:
    """Untrained: nothing here depends on what its features mean."""
    torch.manual_seed(0)
    return BaseModel(**load_config("base", "tiny").model).eval().requires_grad_(False)


def _verify(name: str, clip: Clip) -> None:
    frames, size = len(clip.deviation), _base().motion_size
    shapes = {
        "wave": (FRAME * frames,),
        "deviation": (frames, size),
        "source": (size,),
        "opening": (frames,),
    }
    if clip.parameters is not None:
        shapes["parameters"] = (frames, len(MOTION))
    for field, shape in shapes.items():
        value = getattr(clip, field)
        what = f"{field} of a clip of {name}"
        assert isinstance(value, np.ndarray), f"{what} must be an array, got {type(value).__name__}"
        assert value.shape == shape, f"{what} must be {shape}, got {value.shape}"
        assert value.dtype == np.float32, f"{what} must be float32, got {value.dtype}"
        assert np.isfinite(value).all(), f"{what} must be finite"
    loudest = np.abs(clip.wave).max()
    assert loudest <= 1, f"the wave of a clip of {name} must lie in [-1, 1], got {loudest:g}"
