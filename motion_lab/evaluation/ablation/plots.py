"""Results as a picture: every score of every row, with error bars."""

from __future__ import annotations

import math
from pathlib import Path

from motion_lab.evaluation.ablation.results import Results
from motion_lab.evaluation.ablation.tables import ARROWS

_COLUMNS = 4


def plot(results: Results, path: Path) -> None:
    """Draw one panel a metric: means, bars of one standard deviation, and every seed as a dot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    metrics = list(results.metrics)
    columns = min(_COLUMNS, len(metrics))
    lines = math.ceil(len(metrics) / columns)
    labels = [row.label for row in results.rows]
    height = 0.9 + 0.32 * len(labels)
    figure = Figure(figsize=(2.2 + 2.6 * columns, 0.4 + height * lines), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for index, axes in enumerate(grid.flat):
        if index >= len(metrics):
            axes.remove()
            continue
        metric = metrics[index]
        reference = results.reference.spread(metric)
        if reference.seeds:
            axes.axvline(reference.mean, color="0.75", linewidth=1, zorder=0)
        for place, row in enumerate(results.rows):
            found, values = row.spread(metric), list(row.scores.get(metric, {}).values())
            if not values:
                continue
            colour = "0.25" if row is results.reference else "C0"
            width = 0.0 if math.isnan(found.deviation) else found.deviation
            axes.plot(values, [place] * len(values), ".", color=colour, alpha=0.35, zorder=1)
            axes.errorbar(found.mean, place, xerr=width, fmt="o", color=colour, capsize=3, ms=5)
        axes.set_title(f"{metric}{ARROWS[results.metrics[metric]]}", fontsize=10)
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.margins(y=0.5 / max(1, len(labels)))
        axes.grid(axis="x", color="0.92")
        axes.set_axisbelow(True)
    grid[0, 0].invert_yaxis()
    figure.suptitle(
        f"{results.plan.table.title}\nmean ± standard deviation over "
        f"{len(results.plan.table.seeds)} seeds; dots are seeds, the line is "
        f"{results.reference.label}",
        fontsize=10,
    )
    figure.savefig(path, dpi=110, format="png")
