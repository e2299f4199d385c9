"""The example that draws, on a photograph."""

import runpy
from pathlib import Path

import numpy as np
import skimage.data

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "drawing.py"))


def test_colours_become_flat_and_edges_ink():
    photo = skimage.data.astronaut()[:200, 120:320]
    drawn = EXAMPLE["drawing"](photo)
    assert drawn.shape == photo.shape
    assert drawn.dtype == np.uint8
    steps = [np.abs(np.diff(x.astype(int), axis=1)).sum(2) for x in (photo, drawn)]
    assert np.mean(steps[1] < 3) > 2 * np.mean(steps[0] < 3)
    black = [np.mean(x.max(2) < 20) for x in (photo, drawn)]
    assert black[1] > black[0] + 0.02
