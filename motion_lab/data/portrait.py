"""Portraits: read any picture, find the face in it, cut it out as the models expect it, and put an
animated crop back.

The framing is that of the synthetic heads the models learn from: the point between the eyes lies
at (0.5, 0.42) of a square crop, and the eyes are 0.19 of its width apart.
"""

from __future__ import annotations

import functools
import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps

from motion_lab.errors import UsageError

Image = npt.NDArray[np.uint8]  # (height, width, 3), RGB
Box = tuple[int, int, int]  # x, y, width
Eyes = npt.NDArray[np.float64]  # ((x, y), (x, y)), the picture's left one first

EYES = (0.5, 0.42)  # where the point between the eyes lies in the crop
EYE_DISTANCE = 0.19  # of the crop's width

_SMALLEST_PICTURE = 64  # pixels on the shorter side
_LONGEST_SHAPE = 8  # longer side over shorter
_SMALLEST_FACE = 32  # pixels; the models would have to invent anything smaller
_DETECTION_SIDE = 1024  # the cascades' time grows with the area, their success does not

# Of a frontal cascade's box of width w: measured on the synthetic heads and on photographs.
_CROP_PER_BOX = 2.1
_EYES_BELOW_TOP = 0.38
_UNRELIABLE_ROLL = 8.0  # degrees; below, a tilted head is left as it is: the models know it


class Face(NamedTuple):
    """A face in a picture, in pixels and degrees."""

    x: float
    y: float
    width: float  # of the cascade's box, whose upper left corner is (x, y)
    eyes: tuple[float, float]  # the point between them
    eye_distance: float | None  # None where they were not found with certainty
    roll: float  # of the head, clockwise in the picture
    faces: int  # found in the picture; this is the largest
    profile: bool  # seen from the side


@dataclass(frozen=True)
class Framing:
    """Where a square crop lies in its picture: the link between the two."""

    centre: tuple[float, float]  # pixels of the picture
    side: float
    roll: float = 0.0  # degrees, clockwise in the picture

    def matrix(self, size: int) -> npt.NDArray[np.float64]:
        """Affine map (2, 3) of the picture's continuous coordinates to a crop of ``size``."""
        scale = size / self.side
        cos, sin = (scale * f(math.radians(self.roll)) for f in (math.cos, math.sin))
        turn = np.array([[cos, sin], [-sin, cos]])
        return np.column_stack([turn, size / 2 - turn @ np.asarray(self.centre)])


def load_image(path: str | Path) -> Image:
    """Read a picture as (height, width, 3) uint8 RGB, upright.

    Orientation marks and colour profiles are applied, transparency is laid on white, 16 bits and
    CMYK are converted; of an animation the first frame counts.

    Raises:
        UsageError: it cannot be read as a picture, or has no room for a face.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path}: there is no such file. Check the name.")
    if not path.is_file():
        raise UsageError(f"{path} is a folder or a device. Give a picture: a JPEG or PNG file.")
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is empty (0 bytes). Give a picture: a JPEG or PNG file.")
    try:
        with warnings.catch_warnings():
            # Large photographs are welcome up to the size at which Pillow refuses.
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            with Pillow.open(path) as picture:
                _check_shape(path, *picture.size)
                picture.load()
                rgb = _to_rgb(ImageOps.exif_transpose(picture))
    except Pillow.DecompressionBombError as error:
        raise UsageError(
            f"{path} has too many pixels to open. Scale it down to 4000 a side or less."
        ) from error
    except PermissionError as error:
        raise UsageError(f"{path} may not be read: change its permissions.") from error
    except Pillow.UnidentifiedImageError as error:
        raise UsageError(
            f"{path} is not a picture in any format that can be read. Give a JPEG, PNG, WebP or "
            "TIFF file (convert HEIC to JPEG first)."
        ) from error
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError is Pillow's for broken PNGs
        raise UsageError(
            f"{path} is damaged or cut off: {error}. Fetch or export the picture again."
        ) from error
    return np.array(rgb)


def _check_shape(path: Path, width: int, height: int) -> None:
    short, long = sorted((width, height))
    if short < _SMALLEST_PICTURE:
        raise UsageError(
            f"{path} is {width}x{height} pixels: too small for a portrait. Give a picture of at "
            f"least {_SMALLEST_PICTURE} pixels a side."
        )
    if long > _LONGEST_SHAPE * short:
        raise UsageError(
            f"{path} is {width}x{height} pixels: a strip, not a portrait. Cut out the part with "
            "the face."
        )


def _to_rgb(picture: Pillow.Image) -> Pillow.Image:
    if picture.mode.startswith("I") or picture.mode == "F":  # one channel, 16 bits or more
        values = np.nan_to_num(np.asarray(picture, np.float64))
        ranges = (65535.0,) if picture.mode.startswith("I;16") else (1.0, 255.0, 65535.0)
        top = next((top for top in ranges if values.max() <= top), values.max())
        grey = Pillow.fromarray((np.clip(values / top, 0, 1) * 255).round().astype(np.uint8))
        return grey.convert("RGB")
    if "A" in picture.getbands() or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Pillow.new("RGBA", layer.size, "white")
        return Pillow.alpha_composite(white, layer).convert("RGB")
    profile = picture.info.get("icc_profile")
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(picture, own, srgb, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile, or one for another mode: the plain conversion is close
    return picture.convert("RGB")


def find_face(image: Image, name: str = "the picture") -> Face:
    """Find the largest face of a picture (height, width, 3), uint8 RGB.

    OpenCV's Haar cascades: frontal ones first, upright and then tilted by 30 degrees; profiles
    last. A tilt is measured between the eyes where both are found beyond doubt.

    Args:
        image: the picture.
        name: what to call it in an error, such as its path.

    Raises:
        UsageError: there is no face, or it is too small.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _DETECTION_SIDE / max(height, width))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found: list[tuple[Box, Eyes | None]]
    for angle in (0, 30, -30):
        turned, back = _turn(grey, angle)
        found = [(box, _find_eyes(turned, box)) for box in _frontal(turned)]
        if angle:
            # Turned textures look like faces more often than upright ones: eyes must confirm them.
            found = [(box, eyes) for box, eyes in found if eyes is not None]
        if found:
            profile = False
            break
    else:
        angle, back, profile = 0, np.eye(2, 3), True
        found = [(box, None) for box in _profile(grey)]
    if not found:
        raise UsageError(
            f"No face was found in {name}. Give a portrait that shows one face from the front, "
            "upright, not covered, and at least a tenth of the picture wide; a picture that is "
            "already cut to head and shoulders can be used with --no-crop."
        )
    (x, y, w), eyes = max(found, key=lambda each: each[0][2])
    if w / scale < _SMALLEST_FACE:
        raise UsageError(
            f"The face in {name} is only {w / scale:.0f} pixels wide. Give a picture in which it "
            f"has at least {_SMALLEST_FACE}."
        )
    if eyes is None:
        between, distance, roll = np.array([x + 0.5 * w, y + _EYES_BELOW_TOP * w]), None, 0.0
    else:
        left, right = np.array([x, y]) + w * eyes
        between = (left + right) / 2
        distance = float(np.hypot(*(right - left))) / scale
        roll = math.degrees(math.atan2(*(right - left)[::-1]))
    corner = (back @ [x, y, 1]) / scale
    between = (back @ [*between, 1]) / scale
    return Face(
        x=float(corner[0]),
        y=float(corner[1]),
        width=w / scale,
        eyes=(float(between[0]), float(between[1])),
        eye_distance=distance,
        roll=roll + angle,
        faces=len(found),
        profile=profile,
    )


def frame_face(face: Face) -> Framing:
    """The framing that puts a face where the models expect it."""
    side = _CROP_PER_BOX * face.width
    if face.eye_distance is not None:
        # A turned head brings its eyes together: the box limits how far they are believed.
        side = float(np.clip(face.eye_distance / EYE_DISTANCE, 0.95 * side, 1.2 * side))
    roll = face.roll if abs(face.roll) > _UNRELIABLE_ROLL else 0.0
    down = (0.5 - EYES[1]) * side
    angle = math.radians(roll)
    centre = (face.eyes[0] - down * math.sin(angle), face.eyes[1] + down * math.cos(angle))
    return Framing(centre, side, roll)


def frame_whole(image: Image) -> Framing:
    """The framing of a picture that is a portrait crop already: its largest central square."""
    height, width = image.shape[:2]
    return Framing((width / 2, height / 2), min(height, width))


def crop_portrait(image: Image, size: int, framing: Framing | None = None) -> tuple[Image, Framing]:
    """Cut out the square (size, size, 3) around a face; the picture's border continues outwards.

    Without ``framing`` the largest face is looked for. Returns the crop, and the framing for
    `paste_back`. Raises UsageError where no face is found.
    """
    framing = framing or frame_face(find_face(image))
    matrix = framing.matrix(size)
    scale = size / framing.side
    if scale < 1:
        # Averaged to the crop's resolution first: interpolation alone would alias.
        small = (round(image.shape[1] * scale) or 1, round(image.shape[0] * scale) or 1)
        stretch = np.array([image.shape[1] / small[0], image.shape[0] / small[1]])
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA).astype(np.uint8)
        matrix = matrix * [*stretch, 1.0]
    crop = cv2.warpAffine(
        image,
        _pixel_centres(matrix),
        (size, size),
        flags=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return crop.astype(np.uint8), framing


def paste_back(frame: Image, image: Image, framing: Framing, feather: float = 0.1) -> Image:
    """Lay an animated crop (size, size, 3) over the picture that it was cut from.

    It fades out towards its edges over ``feather`` of its side. Returns a new picture.
    """
    size = len(frame)
    matrix = framing.matrix(size)
    inverse = cv2.invertAffineTransform(matrix)
    corners = inverse @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]])
    limit = np.array(image.shape[1::-1])
    low = np.clip(np.floor(corners.min(1)), 0, limit).astype(int)
    high = np.clip(np.ceil(corners.max(1)), 0, limit).astype(int)
    if (high <= low).any():
        return image.copy()
    window = tuple(int(n) for n in high - low)
    # Only the window of the picture that the crop covers is touched.
    inverse[:, 2] -= low
    there = _pixel_centres(inverse)
    laid = cv2.warpAffine(
        frame, there, window, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    mask = cv2.warpAffine(_feathered(size, feather), there, window, flags=cv2.INTER_LINEAR)
    result = image.copy()
    part = result[low[1] : high[1], low[0] : high[0]]
    part[:] = np.rint(part + mask[..., None] * (laid.astype(np.float32) - part))
    return result


@functools.lru_cache(maxsize=4)
def _feathered(size: int, feather: float) -> npt.NDArray[np.float32]:
    """A mask (size, size): 1 inside, falling smoothly to 0 at the edges."""
    edge = np.minimum(np.arange(size) + 0.5, np.arange(size)[::-1] + 0.5) / size
    ramp = np.clip(edge / feather, 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return np.outer(ramp, ramp).astype(np.float32)


def _pixel_centres(matrix: npt.NDArray) -> npt.NDArray[np.float64]:
    """The map in OpenCV's terms, where a pixel's centre and not its corner is a whole number."""
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    return moved


def _turn(grey: npt.NDArray, angle: float) -> tuple[npt.NDArray, npt.NDArray]:
    """Turn a picture so that what leans ``angle`` clockwise stands up, and the way back."""
    if not angle:
        return grey, np.eye(2, 3)
    height, width = grey.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    turned = cv2.warpAffine(grey, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return turned, cv2.invertAffineTransform(matrix)


@functools.cache
def _cascade(name: str) -> cv2.CascadeClassifier:
    folder = cv2.data.haarcascades  # type: ignore[attr-defined]
    return cv2.CascadeClassifier(f"{folder}haarcascade_{name}.xml")


def _detect(name: str, grey: npt.NDArray, neighbours: int, confidence: float) -> list[Box]:
    """Boxes (x, y, width) that a cascade is at least so sure of."""
    least = max(24, min(grey.shape) // 12)
    boxes, _, weights = _cascade(name).detectMultiScale3(
        grey, 1.1, neighbours, minSize=(least, least), outputRejectLevels=True
    )
    return [
        (int(x), int(y), int(w))
        for (x, y, w, _), weight in zip(boxes, np.ravel(weights), strict=True)
        if weight >= confidence
    ]


def _frontal(grey: npt.NDArray) -> list[Box]:
    # alt2 errs least on things that are no face; default sees some faces that it does not, and
    # coins and clouds too, with less confidence than this.
    return _detect("frontalface_alt2", grey, 4, 0.0) or _detect("frontalface_default", grey, 5, 4.0)


def _profile(grey: npt.NDArray) -> list[Box]:
    width = grey.shape[1]
    found = _detect("profileface", grey, 5, 0.5)  # trained on faces that look left
    return found or [
        (width - x - w, y, w) for x, y, w in _detect("profileface", cv2.flip(grey, 1), 5, 0.5)
    ]


def _find_eyes(grey: npt.NDArray, box: Box) -> Eyes | None:
    """Both eyes ((x, y), (x, y)) in fractions of a face's box, or None in any doubt."""
    x, y, w = box
    side = 200
    upper = cv2.resize(grey[y : y + w * 3 // 5, x : x + w], (side, side * 3 // 5))
    candidates: list[list[tuple[float, npt.NDArray[np.float64]]]] = [[], []]
    for name in ("eye", "eye_tree_eyeglasses"):
        boxes, _, weights = _cascade(name).detectMultiScale3(
            upper, 1.05, 3, minSize=(28, 28), maxSize=(80, 80), outputRejectLevels=True
        )
        for (left, top, w, h), weight in zip(boxes, np.ravel(weights), strict=True):
            place = np.array([left + w / 2, top + h / 2]) / side
            for which, middle in enumerate((0.28, 0.72)):
                if abs(place[0] - middle) < 0.14 and abs(place[1] - _EYES_BELOW_TOP) < 0.12:
                    candidates[which].append((float(weight), place))
    if not all(candidates):
        return None
    eyes = np.array([max(each, key=lambda pair: pair[0])[1] for each in candidates])
    across, down = eyes[1] - eyes[0]
    return eyes if 0.3 < across < 0.54 and abs(down) < 0.4 * across else None
