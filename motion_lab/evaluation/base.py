"""How well a base model moves heads it has never seen, against yardsticks that use no model."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lab.data.synthetic.parameters import MOTION, REGIONS
from motion_lab.evaluation.affine import fit_affine
from motion_lab.evaluation.heads import FLOW_SIZE, Head
from motion_lab.evaluation.metrics import grow, identified, probe_r2, psnr, sharpness, ssim
from motion_lab.models.base_model import BaseModel, Source

PROBED = {
    "yaw": ("yaw",),
    "pitch": ("pitch",),
    "roll": ("roll",),
    "jaw": ("jaw",),
    "blink": ("blink_left", "blink_right"),
    "lip_width": ("lip_width",),
    "gaze_x": ("gaze_x",),
}
"""What linear probes read off the motion feature: a mean of motion parameters each."""

_MOUTH = ("lips", "mouth_interior")
_FACE = ("skin", "eyes", "brows", "lips", "mouth_interior")
_TIMED_FRAMES = 10


@torch.no_grad()
def yardsticks(heads: Iterable[Head]) -> dict[str, float]:
    """What needs no model: the source itself, its best affine map, and the oracle warp, which
    carries the source's pixels where the renderer knows that they went.

    Returns:
        psnr_copy, psnr_affine and psnr_oracle_warp in dB; the same within the mouth, psnr_mouth_…,
        and as structural similarity, ssim_….
    """
    rows: dict[str, list[Tensor]] = defaultdict(list)
    for head in heads:
        _add_yardsticks(rows, head)
    return _means(rows)


@torch.no_grad()
def evaluate_base(model: BaseModel, heads: Iterable[Head]) -> dict[str, Any]:
    """Scores of a model in evaluation mode on heads rendered at its image size.

    Each head's first frame is the source, every other one a driving frame of the same person. All
    scores are means over driving frames; PSNR in dB.

    Returns:
        The yardsticks; psnr, psnr_mouth and ssim of the model; psnr_own_motion, psnr_other_motion
        and psnr_double_motion, of the same model given the motion feature of the source, of another
        frame, and of another person in the same pose (relative to that person in the source's
        pose) instead of the driving frame's; psnr_rest, of the model given no motion, against the
        source; sharpness within the face; generated_share, and hidden_share, what the source does
        not show; flow_error and flow_error_zero of no motion at all, in pixels of a 64-pixel frame
        where the head is and the source shows it; depth_r, the correlation of the expected depth
        layer with the true depth on the source's head; probe_r2 by parameter, on people that the
        probe was not fitted on; identified, how often the motion feature tells who it is, and
        identified_by_chance; fps, decoded one by one.
    """
    device = next(model.parameters()).device
    rows: dict[str, list[Tensor]] = defaultdict(list)
    features, motion, people = [], [], []
    source = None
    for person, head in enumerate(heads):
        images = head.images.to(device)
        target, regions = images[1:], head.regions[1:].to(device)
        mouth, face = _mouth(regions), _labelled(regions, _FACE)
        source = model.encode_source(images[:1])
        driving = model.encode_motion(target)
        deviation = driving - source.motion
        rendered = model.decode(source.expand(len(target)), deviation)
        others = model.decode(source.expand(len(target)), deviation.roll(1, dims=0))
        still = model.decode(source, torch.zeros_like(source.motion))
        played = model.encode_motion(head.double.to(device))
        double = model.decode(source.expand(len(target)), played[1:] - played[:1])

        _add_yardsticks(rows, head)
        rows["psnr"].append(psnr(rendered.image, target))
        rows["psnr_mouth"].append(psnr(rendered.image, target, mouth))
        rows["psnr_own_motion"].append(psnr(still.image.expand_as(target), target))
        rows["psnr_other_motion"].append(psnr(others.image, target))
        rows["psnr_double_motion"].append(psnr(double.image, target))
        rows["psnr_rest"].append(psnr(still.image, images[:1]))
        rows["ssim"].append(ssim(rendered.image, target))
        rows["hidden_share"].append(1 - head.visible.mean((1, 2)))
        rows["sharpness"].append(sharpness(rendered.image, target, face))
        rows["generated_share"].append(rendered.generated.mean((1, 2, 3)))
        for key, field in (
            ("flow_error", rendered.displacement),
            ("flow_error_zero", torch.zeros_like(rendered.displacement)),
        ):
            rows[key].append(_flow_error(field, head))
        rows["depth_r"].append(_depth_agreement(source.depth[-1], head.depth))
        features.append(driving.cpu())
        motion.append(head.motion[1:])
        people.append(torch.full((len(target),), person))
    if source is None:
        raise ValueError("there must be at least one head to evaluate on")
    scores: dict[str, Any] = _means(rows)
    scores["probe_r2"] = _probes(torch.cat(features), torch.cat(motion), torch.cat(people))
    scores["identified"] = identified(torch.cat(features), torch.cat(people))
    scores["identified_by_chance"] = 1 / len(people)
    scores["fps"] = _frames_per_second(model, source)
    return scores


def _add_yardsticks(rows: dict[str, list[Tensor]], head: Head) -> None:
    target, mouth = head.images[1:], _mouth(head.regions[1:])
    copied = head.images[:1].expand_as(target)
    fitted = fit_affine(copied, target)
    for name, image in (("copy", copied), ("affine", fitted), ("oracle_warp", head.moved)):
        rows[f"psnr_{name}"].append(psnr(image, target))
        rows[f"psnr_mouth_{name}"].append(psnr(image, target, mouth))
        rows[f"ssim_{name}"].append(ssim(image, target))


def _means(rows: dict[str, list[Tensor]]) -> dict[str, float]:
    """NaN, a mouth or face that cannot be seen, counts for nothing."""
    return {key: torch.cat([x.cpu() for x in row]).nanmean().item() for key, row in rows.items()}


def _labelled(regions: Tensor, names: tuple[str, ...]) -> Tensor:
    wanted = torch.tensor([REGIONS.index(name) for name in names], device=regions.device)
    return torch.isin(regions, wanted).unsqueeze(1)


def _mouth(regions: Tensor) -> Tensor:
    """Lips and what is between them, and a margin for lips that lie elsewhere in the output."""
    return grow(_labelled(regions, _MOUTH), regions.shape[-1] // 32)


def _flow_error(displacement: Tensor, head: Head) -> Tensor:
    """Mean distance from the true displacement, in pixels of a frame of FLOW_SIZE."""
    small = F.interpolate(
        displacement.movedim(-1, 1).cpu(), (FLOW_SIZE, FLOW_SIZE), mode="bilinear"
    )
    distance = (small.movedim(1, -1) - head.displacement).norm(dim=-1) * FLOW_SIZE / 2
    background = F.interpolate(
        _labelled(head.regions[1:], ("background",)).float(), (FLOW_SIZE, FLOW_SIZE)
    )[:, 0]
    counts = head.visible * (1 - background)
    return (distance * counts).sum((1, 2)) / counts.sum((1, 2))


def _depth_agreement(cue: Tensor, depth: Tensor) -> Tensor:
    """Pearson correlation (1,) of the layer (1, DF, h, w) and the depth (S, S), where the head is;
    0 for a cue that says nothing."""
    layers = torch.arange(float(cue.shape[1]), device=cue.device)[:, None, None]
    expected = F.interpolate(
        (cue * layers).sum(1, keepdim=True).cpu(), depth.shape, mode="bilinear"
    )
    head = depth > 0
    both = torch.stack([expected[0, 0][head], depth[head]]).double()
    return both.corrcoef()[0, 1].nan_to_num(0.0)[None]


def _probes(features: Tensor, motion: Tensor, people: Tensor) -> dict[str, float]:
    values = torch.stack(
        [motion[:, [MOTION.index(name) for name in names]].mean(1) for names in PROBED.values()],
        dim=1,
    )
    return dict(zip(PROBED, probe_r2(features, values, people % 2 == 0).tolist(), strict=True))


def _frames_per_second(model: BaseModel, source: Source) -> float:
    def decode() -> float:
        start = time.perf_counter()
        model.decode(source, torch.zeros_like(source.motion)).image.cpu()
        return time.perf_counter() - start

    decode()
    seconds = sorted(decode() for _ in range(_TIMED_FRAMES))
    return 1 / seconds[_TIMED_FRAMES // 2]
