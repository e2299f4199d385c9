"""The shipped networks rank: each harm makes its metrics worse, and more of it makes them worse."""

import pytest
import torch

from motion_lab.evaluation.lab import landmarks, sync
from motion_lab.evaluation.lab.ranking import COURSES, late_sound, run, talkers
from motion_lab.evaluation.metrics import build_metrics

pytest.importorskip("espeakng_loader")


@pytest.fixture(scope="module")
def crowd():
    return talkers(3, frames=60, size=96, seed=1)


@pytest.mark.parametrize(
    ("course", "metric", "score"),
    [
        ("wrong words", "lse[lab]", "lse_d[lab]"),
        ("wrong words", "lse[lab]", "lse_c[lab]"),
        ("late sound", "lse[lab]", "lse_offset[lab]"),
        ("blurred", "fid[lab]", "fid[lab]"),
        ("blurred", "lpips[lab]", "lpips[lab]"),
        ("frozen", "akd[lab]", "akd[lab]"),
        ("another person", "csim[lab]", "csim[lab]"),
        ("another person", "fid[lab]", "fid[lab]"),
    ],
)
def test_a_metric_falls_with_the_dose(crowd, course, metric, score):
    better = build_metrics([metric])[metric].scores[score]
    values = torch.tensor(run([metric], COURSES[course], crowd)[score])
    steps = values.diff()
    assert (steps < 0).all() if better == "higher" else (steps > 0).all(), values.tolist()


def test_lips_and_voice_part_as_the_sound_comes_later(crowd):
    """LSE looks for the best shift, so it is their distance as they are that must grow."""
    network, finder = sync.load(), landmarks.load()
    apart = []
    for dose in (0, 1, 2, 4):
        clips = [late_sound(crowd, who, dose) for who in range(len(crowd))]
        pairs = [network.embed(clip.frames, clip.wave, finder) for clip in clips]
        apart.append(torch.cat([(lips - voice).norm(dim=1) for lips, voice in pairs]).mean())
    assert (torch.stack(apart).diff() > 0).all(), apart
