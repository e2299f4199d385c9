"""Drawing frames with the shipped checkpoint: 256×256 pixels, stage by stage.

A batch of frames as `motion-lab animate` draws them on that device, of scikit-image's astronaut in
poses that she takes when her picture is turned and shifted. The peer "torch" is the same model over
torch's own ops.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness.case import FORWARD, Case, Contender, Inputs, Op, Output, Work
from motion_lab.ops import use_backend, warp

_FRAMES = {"cpu": 8, "cuda": 32}
_TORCH = {"grid_sample": "torch", "warp": "torch", "region_attention": "torch"}
_REFERENCE = dict.fromkeys(_TORCH, "reference")


@functools.cache
def missing() -> str | None:
    """What the pipeline needs and this installation lacks, or None."""
    try:
        import skimage.data  # noqa: F401

        import motion_lab.models.base_model  # noqa: F401
        from motion_lab.models.weights import resolve_checkpoint

        resolve_checkpoint("small")
    except Exception as error:  # a package that is missing or does not load
        return f"needs the whole package (pip install .): {error}"
    return None


@functools.cache
def _scene(device: torch.device) -> dict[str, Any]:
    """The model, and what each stage gets from the one before."""
    import skimage.data

    from motion_lab.components.blocks import resize
    from motion_lab.models.base_model import carried, image_plane
    from motion_lab.models.weights import load_base_model

    model = load_base_model("small", device)
    pixels = torch.from_numpy(skimage.data.astronaut()[:256, 100:356]).permute(2, 0, 1)
    portrait = (pixels[None].float() / 255).to(device)
    frames = _FRAMES[device.type]
    angle = torch.linspace(-0.15, 0.15, frames, device=device)
    turn = torch.stack(
        [
            torch.stack([angle.cos(), -angle.sin(), angle / 3], -1),
            torch.stack([angle.sin(), angle.cos(), -angle / 4], -1),
        ],
        1,
    )
    grid = F.affine_grid(turn, [frames, 3, 256, 256], align_corners=False)
    turned = F.grid_sample(portrait.expand(frames, -1, -1, -1), grid, align_corners=False)
    with torch.no_grad():
        source = model.encode_source(portrait).expand(frames)
        deviation = model.encode_motion(turned) - source.motion
        fields = model.motion_decoder(source.volume, source.depth, deviation)
        plane = image_plane(fields[-1]).movedim(-1, 1)
        flat = [*source.skips, source.image]
        moves = [resize(plane, x.shape[-2:]).movedim(1, -1) for x in flat]
        own = next(f for f in fields if f.mask.shape[-2:] == source.volume.shape[-2:])
        warps = [(source.volume, own.displacement), *zip(flat, moves, strict=True)]
        volume, *skips, image = (warp(x, move) for x, move in warps)
        warped = (volume, skips, [field.mask for field in fields], image)
        drawn = model.renderer(*warped)
        assert source.places is not None  # `small` draws details
        places = carried(source.places, image_plane(fields[-1]))
    return {
        "model": model,
        "portrait": portrait,
        "driving": turned,
        "source": source,
        "deviation": deviation,
        "warps": warps,
        "warped": warped,
        "drawn": (drawn, image, places, deviation),
    }


# Stage -> its call on a scene. "frame" is all that happens for each frame of a video.
_STAGES: dict[str, Callable[[dict[str, Any]], Output]] = {
    "encode-source": lambda s: s["model"].encode_source(s["portrait"]).volume,
    "encode-motion": lambda s: s["model"].encode_motion(s["driving"]),
    "decode-motion": lambda s: (
        s["model"]
        .motion_decoder(s["source"].volume, s["source"].depth, s["deviation"])[-1]
        .displacement
    ),
    "warp": lambda s: tuple(warp(x, move) for x, move in s["warps"]),
    "render": lambda s: s["model"].renderer(*s["warped"]),
    "details": lambda s: s["model"].detail(*s["drawn"]),
    "frame": lambda s: s["model"].decode(s["source"], s["deviation"]).image,
}


def _with_backends(backends: dict[str, str]) -> Callable[[Inputs], Callable[[], Output]]:
    def prepare(inputs: Inputs) -> Callable[[], Output]:
        def call() -> Output:
            with use_backend(**backends):
                return _STAGES[inputs["stage"]](inputs["scene"])

        return call

    return prepare


def stage_work(inputs: Inputs, passes: str) -> Work:
    """Convolutions and products as torch's flop counter counts them; our own ops are not in it."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        _with_backends({})(inputs)()
    return Work(flops=counter.get_total_flops())


def _case(stage: str) -> Case:
    return Case(
        f"small-256-{stage}",
        lambda device: {"stage": stage, "scene": _scene(device)},
        stage_work,
        quick=stage in ("decode-motion", "frame"),
        passes=(FORWARD,),
        reference_dtype=torch.float32,
        # Where two regions are equally probable, rounding decides, and moves a value a little.
        tolerance=1e-3,
    )


OPS = (
    Op(
        "pipeline",
        tuple(_case(stage) for stage in _STAGES),
        Contender("ours", _with_backends({})),
        lambda inputs: _with_backends(_REFERENCE)(inputs)(),
        (Contender("torch", _with_backends(_TORCH)),),
        missing,
    ),
)
