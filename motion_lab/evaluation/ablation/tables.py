"""Results as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence

from motion_lab.evaluation.ablation.results import Results, RowResult, machine
from motion_lab.evaluation.ablation.statistics import (
    LEVEL,
    Difference,
    detectable,
    smallest_sign_p,
)
from motion_lab.evaluation.results import markdown as _table

ARROWS = {"higher": " ↑", "lower": " ↓", "neither": ""}
_MOST_DECIMALS = 4


def markdown(results: Results, command: str, picture: str) -> str:
    """A page: scores, differences with their tests, what failed, and how all of it was made."""
    plan = results.plan
    parts = [f"# {plan.table.title}", _made_by(results, command), _table(*scores(results))]
    parts.append(
        f"Mean ± standard deviation over the seeds {_listed(plan.table.seeds)}; the best mean is "
        f"bold. Training took the minutes of the last column on the machine below."
    )
    parts.append(f"![Scores of each row]({picture})")
    if results.others and len(plan.table.seeds) > 1:
        parts += [f"## Differences from `{results.reference.label}`", _differences(results)]
        tests = sum(not math.isnan(each.p) for each, _ in results.differences().values())
        parts += [_honesty(len(plan.table.seeds), tests)] if tests else []
    missing = unfinished(results)
    if missing:
        parts += ["## Cells without a score", missing]
    parts += ["## How it was made", _provenance(results)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def cells_csv(results: Results) -> str:
    """A line a cell, unrounded."""
    lines = []
    for row in results.rows:
        for seed in results.plan.table.seeds:
            state = "failed" if seed in row.failures else "waiting" if seed in row.waiting else "ok"
            values = [row.scores.get(metric, {}).get(seed, "") for metric in results.metrics]
            lines.append([row.label, seed, state, row.minutes.get(seed, ""), *values])
    return _csv([["row", "seed", "state", "train_minutes", *results.metrics], *lines])


def summary_csv(results: Results) -> str:
    """A line for each row and metric: mean, spread, and the difference from the reference."""
    found = results.differences()
    lines: list[list[object]] = []
    for row in results.rows:
        for metric, better in results.metrics.items():
            line: list[object] = [row.label, row.parameters, metric, better, *row.spread(metric)]
            if row is results.reference:
                line += [""] * 5
            else:
                difference, corrected = found[row.label, metric]
                line += [*difference[:4], corrected]
            lines.append(["" if value != value else value for value in line])  # NaN: nothing known
    header = ["row", "parameters", "metric", "better", "mean", "deviation", "seeds"]
    return _csv([[*header, "difference", "low", "high", "p", "p_holm"], *lines])


def latex(results: Results) -> str:
    """A ``tabular`` in the style of booktabs."""
    arrows = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "neither": ""}
    heads = [_tex(metric) + arrows[better] for metric, better in results.metrics.items()]

    def cell(row: RowResult, metric: str, text: str) -> str:
        text = text.replace(" ± ", r" \pm ").replace("−", "-")
        bold = results.best(metric) == row.label
        return "--" if text == "–" else rf"$\mathbf{{{text}}}$" if bold else f"${text}$"

    body = [
        " & ".join([_tex(row.label), *_score_cells(results, row, cell)]) for row in results.rows
    ]
    return "\n".join(
        [
            f"% {results.plan.table.title}: mean and standard deviation over "
            f"{len(results.plan.table.seeds)} seeds; needs \\usepackage{{booktabs}}",
            rf"\begin{{tabular}}{{l{'r' * len(heads)}}}",
            r"\toprule",
            " & ".join(["", *heads]) + r" \\",
            r"\midrule",
            *[f"{line} \\\\" for line in body],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def decimals(results: Results, metric: str) -> int:
    """How many show the typical spread of a metric with two digits."""
    spreads = [row.spread(metric) for row in results.rows]
    widths = sorted(s.deviation for s in spreads if s.deviation > 0)  # NaN is not above 0
    scale = (
        widths[len(widths) // 2] if widths else max((abs(s.mean) / 10 for s in spreads), default=0)
    )
    if not scale > 0:
        return 2
    return min(_MOST_DECIMALS, max(0, 1 - math.floor(math.log10(scale))))


def _score_cells(
    results: Results, row: RowResult, cell: Callable[[RowResult, str, str], str]
) -> list[str]:
    cells = []
    for metric in results.metrics:
        found, digits = row.spread(metric), decimals(results, metric)
        if not found.seeds:
            text = "–"
        elif found.seeds == 1:
            text = _number(found.mean, digits)
        else:
            text = f"{_number(found.mean, digits)} ± {found.deviation:.{digits}f}"
        cells.append(cell(row, metric, text))
    return cells


def scores(results: Results) -> tuple[list[str], list[list[str]]]:
    """Header and lines: mean ± standard deviation of every score of every row, the best in **."""

    def cell(row: RowResult, metric: str, text: str) -> str:
        count = row.spread(metric).seeds
        text = f"**{text}**" if results.best(metric) == row.label else text
        seeds = len(results.plan.table.seeds)
        return f"{text} ({count} of {seeds} seeds)" if 0 < count < seeds else text

    lines = [
        [row.label, thousands(row.parameters), *_score_cells(results, row, cell), _minutes(row)]
        for row in results.rows
    ]
    heads = [f"{metric}{ARROWS[better]}" for metric, better in results.metrics.items()]
    return ["", "parameters", *heads, "min"], lines


def _differences(results: Results) -> str:
    found = results.differences()
    lines = [
        [
            row.label,
            *[
                _difference(*found[row.label, metric], decimals(results, metric))
                for metric in results.metrics
            ],
        ]
        for row in results.others
    ]
    heads = [f"{metric}{ARROWS[better]}" for metric, better in results.metrics.items()]
    return _table(["", *heads], lines)


def _difference(difference: Difference, corrected: float, digits: int) -> str:
    if not difference.seeds:
        return "–"
    mean = _number(difference.mean, digits, sign="+")
    if math.isnan(difference.p):
        return mean
    low, high = (_number(value, digits, sign="+") for value in (difference.low, difference.high))
    mark = " †" if corrected < LEVEL else ""
    return f"{mean} [{low}, {high}] p {difference.p:.2g}{mark}"


def _honesty(seeds: int, tests: int) -> str:
    return (
        "Mean difference over seeds, with its 95 % confidence interval and the p of a two-sided "
        "paired t-test: both cells of a pair share seed, data and budget. "
        f"† marks what stays below {LEVEL} when p is corrected for all {tests} tests of this table "
        "(Holm).\n\n"
        f"What {seeds} seeds can say is little. The test takes differences to be normally "
        f"distributed, which {seeds} values cannot show; it reaches p = {LEVEL} only where the "
        f"mean difference is {detectable(seeds):.2g} times the differences' own standard "
        "deviation; a test without that assumption (sign flips) could not go below "
        f"p = {smallest_sign_p(seeds):.2g} at all. So no mark does not mean no difference: read "
        "the interval. And seeds vary initialisation and the order of the data, not the data: the "
        "spread says nothing of other training sets or other test people."
    )


def _made_by(results: Results, command: str) -> str:
    table = results.plan.table
    limit = f", at most {table.minutes:g} minutes each" if table.minutes else ""
    cells = len(results.rows) * len(table.seeds)
    changed = ", ".join(
        f"`{key}={value if isinstance(value, str) else json.dumps(value)}`"
        for key, value in table.settings.items()
    )
    given = ", ".join(f"`{each}`" for each in results.plan.overrides)
    rest = "; ".join(filter(None, [changed, given]))
    return (
        f"```\n{command}\n```\n\n{len(results.rows)} rows × {len(table.seeds)} seeds = {cells} "
        f"cells of stage {table.stage}, configuration `{table.config}`"
        f"{f' with {rest}' if rest else ''}{limit}."
    )


def unfinished(results: Results) -> str:
    """Cells that failed, with their last words, and cells not done yet; empty if there are none."""
    lines = []
    for row in results.rows:
        for seed, words in sorted(row.failures.items()):
            indented = "\n".join(f"  {line}" for line in words.splitlines())
            lines.append(f"- **{row.label}, seed {seed} failed:**\n\n  ```\n{indented}\n  ```")
        lines += [f"- {row.label}, seed {seed}: not done yet" for seed in row.waiting]
    return "\n".join(lines)


def _provenance(results: Results) -> str:
    protocol = json.dumps(results.protocol, indent=2, ensure_ascii=False)
    return (
        f"Machine: {machine()}.\n\nEvery cell's folder holds its whole configuration "
        "(`config.yaml`), all its scores (`scores.json`), losses (`log.jsonl`) and weights; "
        "`cells.csv` has the unrounded scores. All were scored by this protocol:\n\n"
        f"```json\n{protocol}\n```"
    )


def _minutes(row: RowResult) -> str:
    values = list(row.minutes.values())
    return f"{sum(values) / len(values):.1f}" if values else "–"


def thousands(count: int) -> str:
    """``123456`` → ``"123 k"``."""
    return f"{count / 1e6:.2f} M" if count >= 1_000_000 else f"{count / 1e3:.0f} k"


def _number(value: float, digits: int, sign: str = "") -> str:
    return f"{value:{sign}.{digits}f}".replace("-", "−")


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _csv(lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {each: f"\\{each}" for each in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)
