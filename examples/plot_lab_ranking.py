"""Do the lab's metrics rank? Scores against the dose of five harms, as one picture and as JSON.

python examples/plot_lab_ranking.py docs/results/lab-ranking.png
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

from motion_lab.evaluation.lab.ranking import COURSES, run, talkers

# By course: metrics to run, and two of their scores to draw.
SHOWN = {
    "wrong words": (["lse[lab]"], ("lse_d[lab]", "lse_c[lab]")),
    "late sound": (["lse[lab]"], ("lse_offset[lab]", "lse_d[lab]")),
    "blurred": (["fid[lab]", "lpips[lab]"], ("fid[lab]", "lpips[lab]")),
    "frozen": (["fvd[lab]", "akd[lab]"], ("fvd[lab]", "akd[lab]")),
    "another person": (["csim[lab]", "fid[lab]"], ("csim[lab]", "fid[lab]")),
}


def main(picture: Path) -> None:
    crowd = talkers(4, frames=60)
    scores = {name: run(metrics, COURSES[name], crowd) for name, (metrics, _) in SHOWN.items()}
    doses = {name: course.doses for name, course in COURSES.items()}
    text = json.dumps({"doses": doses, "scores": scores}, indent=2)
    picture.with_suffix(".json").write_text(text + "\n")
    figure, axes = plt.subplots(2, len(COURSES), figsize=(3 * len(COURSES), 5), sharex="col")
    for column, (name, course) in zip(axes.T, COURSES.items(), strict=True):
        column[0].set_title(name)
        column[1].set_xlabel(course.unit)
        for axis, score in zip(column, SHOWN[name][1], strict=True):
            axis.plot(course.doses, scores[name][score], "o-", color="#b0461e")
            axis.set_ylabel(score)
            axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
