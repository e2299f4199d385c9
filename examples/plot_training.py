"""Draw the curves of a training run: python examples/plot_training.py runs/base curve.png"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main(folder: Path, picture: Path) -> None:
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for axes, kind in ((left, "losses"), (right, "scores")):
        series: dict[str, list[tuple[int, float]]] = {}
        for entry in entries:
            for name, value in entry.get(kind, {}).items():
                series.setdefault(name, []).append((entry["step"], value))
        for name, points in series.items():
            axes.plot(*zip(*points, strict=True), label=name)
        axes.set(title=kind, xlabel="step")
        axes.legend(fontsize=8)
    left.set_yscale("log")
    figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
