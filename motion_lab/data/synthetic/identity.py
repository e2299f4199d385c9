"""Who a synthetic head is: shape, skin, hair, clothes, light, camera and the wall behind.

Lengths are in units of 100 mm in the head's frame: x to the viewer's right, y up, z towards the
camera, the origin between the eyes. Colours are linear light.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from motion_lab.ops import _native

# Shape: mean and standard deviation; samples lie within 1.8 deviations.
_SHAPE = {
    "scale": (1.0, 0.02),
    "cranium_w": (0.74, 0.028),
    "cranium_h": (0.82, 0.030),
    "cranium_d": (0.92, 0.035),
    "cranium_y": (0.30, 0.020),
    "face_w": (0.585, 0.035),
    "face_h": (0.73, 0.035),
    "face_d": (0.61, 0.020),
    "jaw_w": (0.50, 0.045),
    "jaw_y": (-0.58, 0.05),
    "jaw_r": (0.125, 0.015),
    "chin_y": (-1.12, 0.04),
    "chin_z": (0.50, 0.03),
    "chin_w": (0.13, 0.035),
    "cheek_x": (0.40, 0.025),
    "cheek_y": (-0.25, 0.03),
    "cheek_r": (0.19, 0.018),
    "ridge": (0.13, 0.020),
    "muzzle": (0.335, 0.014),
    "eye_x": (0.315, 0.011),
    "eye_z": (0.49, 0.012),
    "eye_r": (0.165, 0.006),
    "eye_w": (0.155, 0.010),
    "eye_up": (0.064, 0.010),
    "eye_lo": (0.040, 0.007),
    "eye_tilt": (0.06, 0.06),
    "eye_close": (0.6, 0.12),
    "socket": (0.20, 0.018),
    "iris_r": (0.064, 0.003),
    "crease": (0.115, 0.014),
    "nose_y": (-0.43, 0.03),
    "nose_z": (0.86, 0.025),
    "nose_r": (0.098, 0.012),
    "bridge_z": (0.645, 0.018),
    "bridge_r": (0.070, 0.010),
    "wing_x": (0.115, 0.016),
    "wing_r": (0.072, 0.009),
    "mouth_y": (-0.735, 0.025),
    "mouth_w": (0.255, 0.020),
    "lip_up": (0.066, 0.014),
    "lip_lo": (0.088, 0.015),
    "lip_bulge": (1.0, 0.25),
    "lip_curve": (0.10, 0.18),
    "ear_size": (0.95, 0.08),
    "ear_out": (0.30, 0.14),
    "brow_y": (0.20, 0.022),
    "brow_arch": (0.03, 0.015),
    "brow_tilt": (0.0, 0.035),
    "brow_thick": (0.040, 0.011),
    "brow_in": (0.11, 0.018),
    "brow_out": (0.50, 0.025),
    "neck_r": (0.50, 0.05),
    "shoulder_w": (1.45, 0.14),
    "shoulder_y": (-2.25, 0.07),
    "shoulder_r": (0.40, 0.04),
    "asymmetry": (0.0, 0.015),
}
# Skin from light to dark; hair; irises; lips are derived from the skin.
_SKIN = np.array(
    [
        (0.80, 0.53, 0.41),
        (0.70, 0.43, 0.30),
        (0.56, 0.31, 0.19),
        (0.40, 0.20, 0.11),
        (0.22, 0.105, 0.060),
        (0.105, 0.050, 0.032),
    ]
)
_HAIR = np.array(
    [
        (0.010, 0.008, 0.008),
        (0.030, 0.018, 0.012),
        (0.075, 0.038, 0.020),
        (0.16, 0.085, 0.040),
        (0.42, 0.27, 0.12),
        (0.60, 0.45, 0.25),
        (0.28, 0.075, 0.025),
        (0.42, 0.41, 0.41),
        (0.70, 0.69, 0.67),
    ]
)
_HAIR_SHARE = np.array([0.18, 0.22, 0.18, 0.12, 0.09, 0.05, 0.06, 0.06, 0.04])
_IRIS = np.array(
    [
        (0.045, 0.020, 0.010),
        (0.10, 0.045, 0.018),
        (0.16, 0.13, 0.05),
        (0.07, 0.14, 0.07),
        (0.08, 0.16, 0.28),
        (0.17, 0.22, 0.25),
    ]
)
# hair, buzz, thickness, hairline, side, length, width, top
_STYLES = {
    "bald": (0, 0.0, 0.05, 0.62, 0.60, 0.0, 0.80, 0.0),
    "buzz": (0, 1.0, 0.05, 0.66, 0.62, 0.0, 0.80, 0.0),
    "receding": (1, 0.8, 0.05, 0.86, 0.66, 0.0, 0.80, 0.0),
    "short": (1, 0.9, 0.09, 0.66, 0.64, 0.0, 0.80, 0.06),
    "quiff": (1, 0.9, 0.10, 0.70, 0.66, 0.0, 0.80, 0.20),
    "fringe": (1, 0.9, 0.11, 0.40, 0.64, 0.0, 0.80, 0.05),
    "bob": (1, 0.9, 0.11, 0.62, 0.60, 1.05, 0.80, 0.04),
    "bob_fringe": (1, 0.9, 0.11, 0.38, 0.60, 1.00, 0.80, 0.04),
    "long": (1, 0.9, 0.10, 0.66, 0.60, 2.10, 0.82, 0.05),
    "long_fringe": (1, 0.9, 0.11, 0.40, 0.58, 1.90, 0.80, 0.04),
    "big": (1, 0.9, 0.26, 0.62, 0.62, 0.55, 0.92, 0.10),
    "tied": (1, 1.0, 0.05, 0.68, 0.64, 0.0, 0.80, 0.02),
}

# Names, or their beginnings, of what changes about a person from one picture to the next.
_CIRCUMSTANCES = (
    "light_", "sky_", "ground_", "cast_", "back", "cloth", "neckline", "collar", "rim", "exposure",
    "gamma", "vignette", "camera", "seed",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Body:
    """Named numbers that fix what an upper body has beside a head: waist, arms and a wider view.

    ``values`` must hold exactly the renderer's names, MOTION_LAB_BODY in
    csrc/head_renderer/contract.h; see :mod:`motion_lab.data.synthetic.bodies`.
    """

    values: Mapping[str, float]
    packed: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        packed = _packed("Body", _native.cpu().head_body_names(), self.values)
        object.__setattr__(self, "packed", packed)


@dataclass(frozen=True, eq=False)
class Identity:
    """Named numbers that fix a head's look; ``values`` must hold exactly the renderer's names.

    With a ``body`` it is an upper body that is shown.
    """

    values: Mapping[str, float]
    body: Body | None = None
    packed: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        packed = _packed("Identity", _native.cpu().head_identity_names(), self.values)
        object.__setattr__(self, "packed", packed)

    def replace(self, **changes: float) -> Identity:
        """The same head with some numbers changed."""
        return Identity({**self.values, **changes}, self.body)

    def in_circumstances_of(self, other: Identity) -> Identity:
        """The same person in another's light and clothes, before their wall and camera."""
        return self.replace(
            **{name: x for name, x in other.values.items() if name.startswith(_CIRCUMSTANCES)}
        )


def _packed(what: str, names: Sequence[str], values: Mapping[str, float]) -> np.ndarray:
    if set(names) != set(values):
        missing = sorted(set(names) - set(values))
        unknown = sorted(set(values) - set(names))
        raise ValueError(f"{what} values: missing {missing}, unknown {unknown}")
    packed = np.array([values[name] for name in names], dtype=np.float32)
    if not np.isfinite(packed).all():
        raise ValueError(f"{what} values must be finite")
    packed.setflags(write=False)
    return packed


def sample_identity(rng: np.random.Generator) -> Identity:
    """A random head; the same generator state gives the same head."""
    values = {
        name: mean + deviation * float(np.clip(rng.normal(), -1.8, 1.8))
        for name, (mean, deviation) in _SHAPE.items()
    }
    feminine = rng.random() < 0.5
    if feminine:
        for name, factor in (
            ("neck_r", 0.90), ("shoulder_w", 0.90), ("jaw_w", 0.94), ("chin_w", 0.9),
            ("brow_thick", 0.75), ("lip_up", 1.15), ("lip_lo", 1.12), ("ridge", 0.92),
            ("nose_r", 0.92), ("wing_x", 0.94),
        ):  # fmt: skip
            values[name] *= factor
    skin = _skin(rng, values)
    _hair(rng, values, feminine)
    _eyes_and_mouth(rng, values, skin, feminine)
    _clothes(rng, values)
    _light_and_camera(rng, values)
    _background(rng, values)
    values["seed"] = float(rng.random())
    return Identity(values)


def _put(values: dict[str, float], prefix: str, colour: np.ndarray) -> None:
    for channel, value in zip(("red", "green", "blue"), colour, strict=True):
        values[f"{prefix}_{channel}"] = float(np.clip(value, 0.0, 2.0))


def _between(palette: np.ndarray, position: float) -> np.ndarray:
    """A colour along a palette, blended geometrically."""
    index = min(int(position), len(palette) - 2)
    return np.exp((1 - position + index) * np.log(palette[index])
                  + (position - index) * np.log(palette[index + 1]))  # fmt: skip


def _skin(rng: np.random.Generator, values: dict[str, float]) -> np.ndarray:
    depth = float(rng.random())
    skin = _between(_SKIN, depth * (len(_SKIN) - 1)) * np.exp(
        rng.normal(0, 0.06) + rng.normal(0, 0.03, 3)
    )
    _put(values, "skin", skin)
    light = 1.0 - depth
    values["skin_var"] = float(rng.uniform(0.04, 0.20))
    values["freckles"] = float(rng.uniform(0.3, 1.0) * light) if rng.random() < 0.25 else 0.0
    values["blush"] = float(rng.uniform(0.1, 1.2) * (0.3 + 0.7 * light))
    values["wrinkles"] = float(max(0.0, rng.uniform(-0.8, 1.0)))
    values["bags"] = float(rng.uniform(0.0, 1.0))
    values["skin_spec"] = float(rng.uniform(0.03, 0.25))
    return skin


def _hair(rng: np.random.Generator, values: dict[str, float], feminine: bool) -> None:
    names = list(_STYLES)
    long = np.array([values_[5] > 0.9 for values_ in _STYLES.values()])
    share = np.where(long, 2.2 if feminine else 0.35, 0.6 if feminine else 1.3)
    share[names.index("bald")] *= 0.6
    style = _STYLES[names[rng.choice(len(names), p=share / share.sum())]]
    keys = ("hair", "buzz", "hair_thick", "hair_line", "hair_side", "hair_len", "hair_wide",
            "hair_top")  # fmt: skip
    values.update(zip(keys, map(float, style), strict=True))
    values["hair_thick"] *= float(rng.uniform(0.8, 1.25))
    values["hair_line"] += float(rng.normal(0, 0.025))
    values["hair_side"] += float(rng.normal(0.05, 0.02))
    values["hair_len"] *= float(rng.uniform(0.9, 1.15))
    values["hair_part"] = float(rng.normal(0, 0.15))
    curly = rng.random() < 0.4
    values["hair_wave"] = float(rng.uniform(0.012, 0.035) if curly else rng.uniform(0.0, 0.010))
    values["hair_wave_freq"] = float(rng.uniform(1.5, 4.0) if curly else rng.uniform(1.0, 2.0))
    values["hair_strand"] = float(rng.uniform(0.25, 0.7))
    values["hair_spec"] = float(rng.uniform(0.02, 0.14))
    hair = _HAIR[rng.choice(len(_HAIR), p=_HAIR_SHARE)] * np.exp(
        rng.normal(0, 0.2) + rng.normal(0, 0.04, 3)
    )
    if rng.random() < 0.04:
        hair = rng.uniform(0.02, 0.6, 3)
    _put(values, "hair", hair)
    values["grey"] = float(rng.uniform(0.0, 0.5)) if rng.random() < 0.15 else 0.0
    bearded = not feminine and rng.random() < 0.5
    values["beard"] = float(rng.uniform(0.6, 1.0)) if bearded and rng.random() < 0.45 else 0.0
    values["moustache"] = float(rng.uniform(0.6, 1.0)) if bearded and rng.random() < 0.55 else 0.0
    values["stubble"] = float(rng.uniform(0.15, 0.6)) if bearded else 0.0
    values["brow_dark"] = float(rng.uniform(0.6, 1.0))
    values["glasses"] = float(rng.random() < 0.15)
    values["glasses_r"] = float(rng.uniform(0.20, 0.25))
    values["glasses_square"] = float(rng.uniform(0.0, 0.8))
    _put(values, "glasses", rng.uniform(0.0, 0.12, 3) + (0.5 if rng.random() < 0.2 else 0.0))


def _eyes_and_mouth(
    rng: np.random.Generator, values: dict[str, float], skin: np.ndarray, feminine: bool
) -> None:
    _put(values, "iris", _IRIS[rng.integers(len(_IRIS))] * np.exp(rng.normal(0, 0.25, 3)))
    values["lash"] = float(rng.uniform(0.45, 0.95) if feminine else rng.uniform(0.2, 0.65))
    painted = feminine and rng.random() < 0.5
    values["shadow"] = float(rng.uniform(0.2, 0.8)) if painted else 0.0
    _put(values, "shadow", rng.uniform(0.05, 0.4, 3))
    lips = skin * np.array([0.86, 0.52, 0.55]) * np.exp(rng.normal(0, 0.08, 3))
    if painted and rng.random() < 0.8:
        lips = np.array([rng.uniform(0.2, 0.6), rng.uniform(0.01, 0.1), rng.uniform(0.02, 0.15)])
    _put(values, "lip", lips)
    values["lip_gloss"] = float(rng.uniform(0.05, 0.4))
    values["lip_line"] = float(rng.uniform(0.35, 0.7))
    values["teeth"] = float(rng.uniform(0.65, 1.0))


def _clothes(rng: np.random.Generator, values: dict[str, float]) -> None:
    values["neckline"] = float(rng.uniform(-1.95, -1.40))
    values["neckline_v"] = float(rng.uniform(0.0, 0.7))
    values["collar"] = float(rng.uniform(0.3, 1.0)) if rng.random() < 0.5 else 0.0
    _put(values, "cloth", rng.uniform(0.01, 0.75) * rng.uniform(0.15, 1.0, 3))
    _put(values, "cloth2", rng.uniform(0.02, 0.85) * rng.uniform(0.25, 1.0, 3))
    values["cloth_pattern"] = float(rng.choice(7, p=[0.4, 0.12, 0.1, 0.1, 0.1, 0.1, 0.08]))
    values["cloth_freq"] = float(rng.uniform(1.5, 6.0))


def _light_and_camera(rng: np.random.Generator, values: dict[str, float]) -> None:
    azimuth, height = rng.uniform(-1.2, 1.2), rng.uniform(-0.1, 0.9)
    values["light_x"] = math.sin(azimuth) * math.cos(height)
    values["light_y"] = math.sin(height)
    values["light_z"] = math.cos(azimuth) * math.cos(height)
    key = rng.uniform(0.45, 1.25)
    warmth = rng.normal(0, 0.08)
    _put(values, "light", key * np.array([1 + warmth, 1.0, 1 - warmth]))
    ambient = (1.45 - key) * rng.uniform(0.45, 0.75)
    tint = rng.normal(0, 0.08)
    _put(values, "sky", ambient * np.array([1 - tint, 1.0, 1 + tint]))
    _put(values, "ground", ambient * rng.uniform(0.4, 0.9) * np.exp(rng.normal(0, 0.1, 3)))
    values["rim"] = float(rng.uniform(0.0, 0.5))
    values["camera"] = float(np.exp(rng.uniform(np.log(6.0), np.log(25.0))))
    values["exposure"] = float(rng.uniform(0.8, 1.35))
    values["gamma"] = float(rng.uniform(0.40, 0.50))
    _put(values, "cast", np.exp(rng.normal(0, 0.03, 3)))
    values["vignette"] = float(max(0.0, rng.uniform(-0.8, 0.8)))


def _background(rng: np.random.Generator, values: dict[str, float]) -> None:
    values["back"] = float(rng.choice(6, p=[0.17, 0.10, 0.08, 0.15, 0.25, 0.25]))
    values["back_freq"] = float(np.exp(rng.uniform(np.log(2.0), np.log(9.0))))
    values["back_angle"] = float(rng.uniform(-math.pi, math.pi))
    values["back_soft"] = float(rng.uniform(0.0, 0.5))
    bright, colourful = rng.uniform(0.05, 0.8), rng.uniform(0.05, 0.7)
    for prefix in ("back", "back2", "back3"):
        _put(values, prefix, bright * rng.uniform(0.15, 1.6) * rng.uniform(1 - colourful, 1.0, 3))
