"""What goes on inside a base model, as pictures beside the frames it makes."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import torch
from torch import Tensor

from motion_lab.components.blocks import resize
from motion_lab.components.layers import expected_layer, true_layer
from motion_lab.components.motion_decoders.lmdd import RegionAttention
from motion_lab.data.portrait import Image
from motion_lab.data.video import contact_sheet
from motion_lab.evaluation.heads import Head
from motion_lab.inference.motion import to_pictures
from motion_lab.models.base_model import BaseModel

ROWS = (
    "source", "driving frame", "result", "source moved", "displacement", "generated", "depth",
    "true depth", "regions of attention",
)  # fmt: skip
"""What the sheet shows, from top to bottom; the last only where the model attends to regions."""


@torch.no_grad()
def look_inside(model: BaseModel, heads: Iterable[Head]) -> Image:
    """A sheet of :data:`ROWS`, a column a person, moved to their first driving frame.

    Displacement has its direction as hue and its length as saturation, full at a tenth of the
    frame; depth is light where it is near; regions have a colour each, which means nothing.
    """
    columns = [_column(model, head) for head in heads]
    rows = [[column[name] for column in columns] for name in ROWS if name in columns[0]]
    return contact_sheet((picture for row in rows for picture in row), len(columns))


def _column(model: BaseModel, head: Head) -> dict[str, Image]:
    device = next(model.parameters()).device
    source_image, driving = head.images[:1].to(device), head.images[1:2].to(device)
    chosen: list[Tensor] = []
    hooks = [
        module.regions.register_forward_hook(lambda *args: chosen.append(args[-1].argmax(1)))
        for module in model.modules()
        if isinstance(module, RegionAttention)
    ]
    try:
        source = model.encode_source(source_image)
        rendered = model.decode(source, model.encode_motion(driving) - source.motion)
    finally:
        for hook in hooks:
            hook.remove()
    size = rendered.image.shape[-2:]
    column = {
        "source": source_image,
        "driving frame": driving,
        "result": rendered.image,
        "source moved": rendered.warped,
        "generated": resize(rendered.generated, size),
        "depth": (1 - resize(expected_layer(source.depth[-1]), size)) / 2,
        "true depth": (1 - true_layer(head.depth[None])) / 2,
    }
    pictures = {name: to_pictures(value.expand(-1, 3, -1, -1))[0] for name, value in column.items()}
    pictures["displacement"] = _wheel(resize(rendered.displacement.movedim(-1, 1), size))
    if chosen:
        regions = chosen[-1][0].byte().cpu().numpy()
        colours = cv2.applyColorMap(regions * np.uint8(40), cv2.COLORMAP_HSV)[..., ::-1]
        shape = (size[1], size[0])
        pictures["regions of attention"] = np.ascontiguousarray(
            cv2.resize(colours, shape, interpolation=cv2.INTER_NEAREST)
        )
    return pictures


def _wheel(displacement: Tensor) -> Image:
    """(1, 2, S, S), normalised → colours (S, S, 3)."""
    x, y = displacement[0].double().cpu().numpy()
    hsv = np.stack(
        [
            (np.degrees(np.arctan2(y, x)) % 360) / 2,
            255 * np.clip(np.hypot(x, y) / 0.2, 0, 1),
            np.full_like(x, 255),
        ],
        -1,
    )
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.uint8)
