"""Make an ink drawing of a photograph: python examples/drawing.py photo.jpg drawing.png

The drawing in the docs is `skimage.data.astronaut()` passed through this.
"""

import sys

import numpy as np
from PIL import Image
from skimage import color, filters, restoration, util

SHADES = 12


def drawing(photo: np.ndarray) -> np.ndarray:
    """A photograph (H, W, 3) uint8 in flat colours of few shades, its edges inked."""
    picture = util.img_as_float(photo)
    flat = color.rgb2lab(restoration.denoise_tv_chambolle(picture, weight=0.12, channel_axis=-1))
    flat[..., 0] = np.round(flat[..., 0] * SHADES / 100) * 100 / SHADES
    grey = color.rgb2gray(picture)
    valley = filters.gaussian(grey, 0.8) - 0.98 * filters.gaussian(grey, 1.6)
    ink = 1 + np.tanh(60 * np.minimum(valley, 0))
    return util.img_as_ubyte(np.clip(color.lab2rgb(flat), 0, 1) * ink[..., None])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with Image.open(sys.argv[1]) as file:
        Image.fromarray(drawing(np.asarray(file.convert("RGB")))).save(sys.argv[2])
