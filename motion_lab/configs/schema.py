"""What a configuration contains. A key that does not stand here is refused with its path.

A component is configured by a *spec*: its registered name, or a mapping of ``name`` and the
component's own keyword arguments, ``{name: conv_volume, width: 32}``. Sizes on which a model's
components must agree stand beside the specs and are passed to the components by the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class TrainingConfig:
    """How a model is trained."""

    steps: int = MISSING
    batch_size: int = MISSING
    learning_rate: float = 3e-4
    """Peak of the schedule: linear warm-up, then a cosine down to zero at ``steps``."""
    warmup: int = 500
    """Steps of linear warm-up."""
    decay_from: int = 0
    """Step up to which the rate stays at its peak. A run held there can be stopped at any step,
    and be given its last steps when its pictures please."""
    weight_decay: float = 0.01
    """AdamW's, on matrices and kernels alone; biases and norms are left free."""
    grad_clip: float = 1.0
    """Largest norm of each module's gradient: the model's, and of what only its losses need."""
    precision: str = "float32"
    """``float32``, or ``bfloat16`` for mixed precision by autocast."""
    recompute: bool = False
    """Trade time for memory: compute the large parts' activations again in the backward pass."""
    ema_decay: float = 0.999
    """Of the moving average of the weights, which is what gets saved for use."""
    seed: int = 0
    log_every: int = 50
    picture_every: int = 1000
    """Steps between pictures and validation scores in TensorBoard."""
    checkpoint_minutes: float = 3.0
    losses: dict[str, float] = field(default_factory=dict)
    """Weight of each loss by name; which names there are, the task says."""

    def check(self) -> None:
        """Raise ValueError, with its path, for a value that does not make sense."""
        section = "training"
        for name in ("steps", "batch_size", "log_every", "picture_every"):
            _at_least(section, name, getattr(self, name), 1)
        for name in ("warmup", "decay_from", "weight_decay", "checkpoint_minutes", "seed"):
            _at_least(section, name, getattr(self, name), 0)
        for name in ("learning_rate", "grad_clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{section}.{name} must be above 0, got {getattr(self, name)}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(
                f"training.precision must be float32 or bfloat16, got {self.precision!r}"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"training.ema_decay must be in [0, 1), got {self.ema_decay}")


COMPONENTS = ("encoder", "depth", "motion_encoder", "motion_decoder", "renderer", "detail")
"""What the base model is made of."""


@dataclass
class BaseModelConfig:
    """Stage 1: keyword arguments of :class:`motion_lab.models.base_model.BaseModel`."""

    image_size: int = MISSING
    """Side in pixels of source and output."""
    working_size: int = MISSING
    """Side in pixels at which motion is encoded and decoded."""
    motion_size: int = MISSING
    """M, how many numbers a motion feature has."""
    encoder: Any = MISSING
    depth: Any = MISSING
    motion_encoder: Any = MISSING
    motion_decoder: Any = MISSING
    renderer: Any = MISSING
    detail: Any = None
    """What draws mouth and eyes again; nothing does if it is left out."""

    def check(self) -> None:
        """Raise ValueError, with its path, for a value that does not make sense."""
        for name in ("image_size", "working_size", "motion_size"):
            _at_least("model", name, getattr(self, name), 1)
        for name in COMPONENTS:
            if name != "detail" or self.detail is not None:
                setattr(self, name, _spec(f"model.{name}", getattr(self, name)))


@dataclass
class MotionModelConfig:
    """Stage 2: keyword arguments of :class:`motion_lab.models.motion_model.MotionModel`."""

    motion_size: int = MISSING
    frontend: Any = MISSING
    extractors: list[Any] = MISSING
    backbone: Any = MISSING
    window: int = MISSING
    """W, frames denoised together."""
    previous: int = 4
    """Frames predicted before the window, which condition it weakly."""
    diffusion_steps: int = 1000
    sampler: Any = MISSING
    """A scheduler of diffusers, ``ddim`` or ``dpm_solver++``, and its settings."""
    guidance: float = MISSING
    """Scale of classifier-free guidance by the audio when generating; 1 is without."""
    past_guidance: float = 1.0
    """Scale of that by the frames before a window."""
    steps: int = MISSING
    """Denoising steps when generating."""
    audio_drop: float = 0.1
    """Share of training windows without audio, which guidance needs."""
    past_drop: float = 0.2
    """Share of training windows without past frames."""
    past_noise: float = 0.2
    """Largest noise on past frames in training, in standard deviations."""
    own_past: float = 0.0
    """Share of training windows whose past frames are the model's own prediction."""

    def check(self) -> None:
        """Raise ValueError, with its path, for a value that does not make sense."""
        for name in ("motion_size", "window", "diffusion_steps", "steps"):
            _at_least("model", name, getattr(self, name), 1)
        _at_least("model", "previous", self.previous, 0)
        for name in ("frontend", "backbone", "sampler"):
            setattr(self, name, _spec(f"model.{name}", getattr(self, name)))
        self.extractors = [
            _spec(f"model.extractors[{i}]", spec) for i, spec in enumerate(self.extractors)
        ]


@dataclass
class BaseDataConfig:
    """What stage 1 is trained on: pairs of frames of synthetic people, rendered once to disk."""

    folder: str = MISSING
    """Where the rendered pairs are kept; made on the first run, reused by later ones."""
    groups: int = MISSING
    """Groups of people to train on; a group shares its motions."""
    held_out_groups: int = MISSING
    """Groups of other people, for pictures and validation."""
    size: int = MISSING
    """Side in pixels of the rendered frames."""
    seed: int = 0
    world: str = "heads"
    """Who is rendered: heads, or bodies: upper bodies with arms."""
    cross_identity: float = MISSING
    """Share of pairs whose motion comes from another person's frame, 0 to 1."""
    wide: float = 0.0
    """Share of pairs, beyond those that chance has, whose frames are both posed freely: large
    motion, 0 to 1."""
    texture: float = 0.0
    """Share of pairs that get the texture of a photograph, 0 to 1."""
    stills: str | None = None
    """Folder of portraits of real people, which random smooth warps move."""
    stills_share: float = 0.2
    """Share of pairs that are such stills, if there are any, 0 to 1."""
    motion_from: int = 0
    """Step from which displacement is learned; before it, the motion encoder alone."""
    appearance_from: int = 0
    """Step from which the frame is learned; before it, its geometry alone."""
    critic_from: int = 0
    """Step from which a critic judges the frame, if its losses have weights."""
    perceptual: Any = None
    """Network that the loss ``perceptual`` compares frames in, a component of that kind."""
    start: str | None = None
    """Checkpoint whose weights training starts from: a preset's name or a folder. A component that
    it lacks starts afresh."""
    frozen: list[str] = field(default_factory=list)
    """Components that keep their weights, such as motion_encoder, so that what was built on them
    (a motion model) goes on to fit."""
    region_weights: dict[str, float] = field(default_factory=dict)
    """How much a pixel counts in the losses, by the region it shows; 1 where not named."""

    def check(self) -> None:
        """Raise ValueError, with its path, for a value that does not make sense."""
        for name in ("groups", "held_out_groups", "size"):
            _at_least("data", name, getattr(self, name), 1)
        if self.world not in ("heads", "bodies"):
            raise ValueError(f"data.world must be heads or bodies, got {self.world!r}")
        for name in self.frozen:
            if name not in COMPONENTS:
                raise ValueError(f"data.frozen: {name!r} is none of {', '.join(COMPONENTS)}")
        for name in ("cross_identity", "wide", "texture", "stills_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.{name} must be in [0, 1], got {getattr(self, name)}")
        if self.perceptual is not None:
            self.perceptual = _spec("data.perceptual", self.perceptual)


@dataclass
class MotionDataConfig:
    """What stage 2 is trained on: people speaking, seen through a stage 1."""

    base: str = MISSING
    """Checkpoint of stage 1 whose motion features are learned: a preset's name or a folder."""
    folder: str = MISSING
    """Where the clips' features are kept; made on the first run, reused by later ones."""
    dataset: Any = MISSING
    shortest: int = 0
    """Frames of the shortest windows trained on, in every second batch: streams draw short ones.
    0: all windows are whole."""

    def check(self) -> None:
        """Raise ValueError, with its path, for a value that does not make sense."""
        _at_least("data", "shortest", self.shortest, 0)
        self.dataset = _spec("data.dataset", self.dataset)


@dataclass
class LabModelConfig:
    """Which lab network: one of :data:`motion_lab.evaluation.lab.weights.NAMES`."""

    network: Any = MISSING
    """Its name and its keyword arguments."""

    def check(self) -> None:
        """Raise ValueError, with its path, for a value that does not make sense."""
        self.network = _spec("model.network", self.network)


@dataclass
class LabDataConfig:
    """What the lab networks are trained on: synthetic heads, rendered once to disk.

    A network takes people (pictures of many, each in many circumstances), or talkers (clips with
    sound); the other settings it leaves alone.
    """

    folder: str = MISSING
    """Where the pictures are kept; made on the first run, shared by all networks."""
    people: int = 1200
    pictures: int = 8
    """Of each person."""
    held_out_people: int = 100
    clips: int = 200
    """Of talkers, each of another person."""
    frames: int = 100
    """Of each clip."""
    held_out_clips: int = 24
    seed: int = 0

    def check(self) -> None:
        """Raise ValueError, with its path, for a value that does not make sense."""
        for name in ("people", "held_out_people", "clips", "held_out_clips"):
            _at_least("data", name, getattr(self, name), 1)
        _at_least("data", "pictures", self.pictures, 2)
        _at_least("data", "frames", self.frames, 60)


@dataclass
class BaseSchema:
    """A run of stage 1."""

    model: BaseModelConfig = field(default_factory=BaseModelConfig)
    data: BaseDataConfig = field(default_factory=BaseDataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass
class MotionSchema:
    """A run of stage 2."""

    model: MotionModelConfig = field(default_factory=MotionModelConfig)
    data: MotionDataConfig = field(default_factory=MotionDataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass
class LabSchema:
    """A run of a lab network."""

    model: LabModelConfig = field(default_factory=LabModelConfig)
    data: LabDataConfig = field(default_factory=LabDataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


SCHEMAS: dict[str, type[BaseSchema] | type[MotionSchema] | type[LabSchema]] = {
    "base": BaseSchema,
    "motion": MotionSchema,
    "lab": LabSchema,
}


@dataclass(frozen=True)
class Config:
    """A checked configuration: everything that defines a run."""

    stage: str
    """``"base"``, ``"motion"`` or ``"lab"``."""
    model: dict[str, Any]
    """Keyword arguments of the stage's model."""
    data: Any
    """:class:`BaseDataConfig`, :class:`MotionDataConfig` or :class:`LabDataConfig`."""
    training: TrainingConfig


def _at_least(section: str, name: str, value: float, least: float) -> None:
    if value < least:
        raise ValueError(f"{section}.{name} must be at least {least}, got {value}")


def _spec(path: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return {str(key): each for key, each in value.items()}
    raise ValueError(
        f"{path} must be a component's name or a mapping with 'name' and its settings, "
        f"got {value!r}"
    )
