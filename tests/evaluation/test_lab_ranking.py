"""The shipped networks rank: each harm makes its metrics worse, and more of it makes them worse."""

import pytest
import torch

from motion_lab.evaluation.lab.ranking import COURSES, run, talkers
from motion_lab.evaluation.metrics import build_metrics

pytest.importorskip("espeakng_loader")


@pytest.fixture(scope="module")
def crowd():
    return talkers(3, frames=60, size=96, seed=1)


@pytest.mark.parametrize(
    ("course", "metrics", "scores"),
    [
        ("wrong words", ["lse[lab]"], ["lse_d[lab]", "lse_c[lab]"]),
        ("late sound", ["lse[lab]"], ["lse_offset[lab]"]),
        ("blurred", ["fid[lab]", "lpips[lab]"], ["fid[lab]", "lpips[lab]"]),
        ("frozen", ["fvd[lab]", "akd[lab]"], ["fvd[lab]", "akd[lab]"]),
        ("another person", ["csim[lab]", "fid[lab]"], ["csim[lab]", "fid[lab]"]),
    ],
)
def test_scores_fall_with_the_dose(crowd, course, metrics, scores):
    better = {k: v for m in build_metrics(metrics).values() for k, v in m.scores.items()}
    values = run(metrics, COURSES[course], crowd)
    for score in scores:
        steps = torch.tensor(values[score]).diff()
        worse = steps < 0 if better[score] == "higher" else steps > 0
        assert worse.all(), f"{score} is {values[score]}"
