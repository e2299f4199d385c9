"""The kind ``metrics``: how one is called, and how several are run over the same clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import torch

from motion_lab.configs.loading import parse_settings
from motion_lab.errors import UsageError
from motion_lab.evaluation.clips import Clip
from registry import METRICS

Better = Literal["higher", "lower"]
Need = Literal["pair", "references", "audio"]


class Metric(Protocol):
    """``metrics``: clips in, one after another; scores out. An instance scores one set of clips.

    Passed in: ``device``, where to compute.

    A name without brackets belongs to the published backbone, from a file that the user names
    (``weights``); ``name[lab]`` to the small network that ships in its place, whose scores carry
    the bracket too. Scores are never found under the other's name.

    Attributes:
        scores: what it reports, and which way is better.
        needs: what it cannot do without. ``"pair"``: each generated clip comes with the reference
            that shows the same, frame by frame; ``"references"``: a set of real clips, which need
            be no pairs; ``"audio"``: generated clips have sound.
    """

    scores: Mapping[str, Better]
    needs: frozenset[Need]

    def protocol(self) -> dict[str, Any]:
        """All that a score depends on besides the clips, as JSON: backbone with its file's
        SHA-256, crop, windows. Two scores are comparable where their protocols are equal.
        """
        ...

    def add(self, generated: Clip | None, reference: Clip | None) -> None:
        """Take in a clip, a pair, or, of a set, a reference alone. Pairs are of equal length."""
        ...

    def compute(self) -> dict[str, float]:
        """The scores of all clips taken in, and whole numbers that say what was counted and what
        was dropped (``"frames"``, ``"dropped"``).

        Raises:
            UsageError: nothing could be scored.
        """
        ...


class Scores(NamedTuple):
    """What came out: see :func:`measure`."""

    values: dict[str, float]
    counts: dict[str, dict[str, int]]
    failed: dict[str, str]


def metric_specs(
    names: Sequence[str] | None, settings: Sequence[str]
) -> list[dict[str, Any]] | None:
    """Metrics as a command line writes them: ``["psnr,fid"]`` and ``["fid.weights=FILE"]``.

    Returns None where no name is given. Raises UsageError for a setting of a metric that is not
    among the names, or that is not METRIC.KEY=VALUE.
    """
    if not names and not settings:
        return None
    split = [name.strip() for each in names or [] for name in each.split(",")]
    specs: dict[str, dict[str, Any]] = {name: {"name": name} for name in split if name}
    for setting in settings:
        key, equals, value = setting.partition("=")
        name, _, argument = key.rpartition(".")
        if not (name and argument and equals):
            raise UsageError(
                f"--set {setting!r} is no setting; write METRIC.KEY=VALUE, for example "
                "fid.weights=pt_inception-2015-12-05-6726825d.pth."
            )
        if name not in specs:
            raise UsageError(f"--set {setting}: {name!r} is not among --metrics; add it there.")
        specs[name].update(parse_settings([f"{argument}={value}"]))
    return list(specs.values())


def build_metrics(
    specs: Sequence[str | Mapping[str, Any]], device: torch.device | str = "cpu"
) -> dict[str, Metric]:
    """Metrics by name, from names or mappings of ``name`` and arguments, as configurations write.

    Raises:
        RegistryError: a name is unknown, or an argument missing or wrong.
        UsageError: a metric is asked for twice, or a file that it needs is wrong.
    """
    metrics: dict[str, Metric] = {}
    for spec in specs:
        name = spec if isinstance(spec, str) else str(spec.get("name"))
        if name in metrics:
            raise UsageError(f"the metric {name!r} is asked for twice; name it once.")
        metrics[name] = METRICS.build(spec, device=device)
    return metrics


@torch.no_grad()
def measure(
    metrics: Mapping[str, Metric], clips: Iterable[tuple[Clip | None, Clip | None]]
) -> Scores:
    """Run metrics over (generated, reference) clips, each of which is seen once.

    Returns:
        ``values``: scores of all metrics together; ``counts``: by metric, what it counted and
        dropped; ``failed``: why a metric gave no score, where others did.

    Raises:
        UsageError: a clip lacks what a metric needs, or no metric gave a score.
    """
    for generated, reference in clips:
        for name, metric in metrics.items():
            _check(name, metric, generated, reference)
            metric.add(generated, reference)
    scores = Scores({}, {}, {})
    for name, metric in metrics.items():
        try:
            found = metric.compute()
        except UsageError as error:
            scores.failed[name] = str(error)
            continue
        scores.values.update({key: found[key] for key in metric.scores})
        scores.counts[name] = {key: int(found[key]) for key in found if key not in metric.scores}
    if scores.failed and not scores.values:
        raise UsageError(" ".join(scores.failed.values()))
    return scores


def both(generated: Clip | None, reference: Clip | None) -> tuple[Clip, Clip]:
    """A pair, for metrics that need one; raises ValueError where half of it is missing."""
    if generated is None or reference is None:
        raise ValueError("this metric takes pairs of clips; one of the two is missing")
    return generated, reference


def _check(name: str, metric: Metric, generated: Clip | None, reference: Clip | None) -> None:
    if "pair" in metric.needs:
        if generated is None or reference is None:
            raise UsageError(
                f"{name} compares each generated video with its own reference, frame by frame: "
                "give references that show the same, or leave it out."
            )
        if generated.frames.shape != reference.frames.shape:
            raise ValueError(
                f"{name} needs pairs of one shape, got {tuple(generated.frames.shape)} and "
                f"{tuple(reference.frames.shape)}"
            )
    if "audio" in metric.needs and generated is not None and generated.wave is None:
        raise UsageError(
            f"{name} needs sound, and a generated video has no sound track: add it, or leave "
            f"{name} out."
        )
