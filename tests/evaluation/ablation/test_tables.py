"""What a table shows: means, spread, differences, failures, in every format."""

import csv
import io
from pathlib import Path

import pytest

from motion_lab.evaluation.ablation import tables
from motion_lab.evaluation.ablation.plan import Plan, Row
from motion_lab.evaluation.ablation.plots import plot
from motion_lab.evaluation.ablation.results import Results, RowResult
from motion_lab.evaluation.ablation.schema import TableConfig


@pytest.fixture
def results():
    table = TableConfig(
        title="Test & more",
        stage="base",
        config="tiny",
        seeds=[0, 1, 2],
        metrics={"psnr": "higher", "flow_error": "lower", "odd": "neither"},
    )
    full = RowResult(
        "full",
        229_113,
        {
            "psnr": {0: 20.0, 1: 21.0, 2: 22.0},
            "flow_error": {0: 0.5, 1: 0.6, 2: 0.7},
            "odd": {0: 0.123, 1: 0.124, 2: 0.128},
        },
        {0: 1.0, 1: 2.0, 2: 3.0},
    )
    less = RowResult(
        "w/o_mask",
        1_229_113,
        {"psnr": {0: 19.9, 1: 20.8, 2: 21.7}, "flow_error": {0: 0.6, 1: 0.61}},
        failures={2: "exit code 1\nmotion-lab: training diverged"},
    )
    broken = RowResult("broken", 10, waiting=[0, 1, 2])
    plan = Plan("t.yaml", ("training.steps=9",), table, (Row("full", ()),))
    return Results(plan, [full, less, broken], {"heads": "eval_heads", "seed": 1000})


def test_markdown_has_scores_differences_failures_and_how_they_were_made(results):
    page = tables.markdown(results, "motion-lab ablate t.yaml", "table.png")
    assert "|  | parameters | psnr ↑ | flow_error ↓ | odd | min |" in page
    assert "| full | 229 k | **21.0 ± 1.0** | **0.60 ± 0.10** | 0.1250 ± 0.0026 | 2.0 |" in page
    # The third seed of the second row has no flow_error: said, and paired over the other two.
    assert "| w/o_mask | 1.23 M | 20.8 ± 0.9 | 0.60 ± 0.01 (2 of 3 seeds) | – | – |" in page
    assert "−0.2 [−0.4, +0.0] p 0.074" in page
    assert "**w/o_mask, seed 2 failed:**" in page
    assert "training diverged" in page
    assert "broken, seed 1: not done yet" in page
    assert "motion-lab ablate t.yaml" in page
    assert "`training.steps=9`" in page
    assert "2.5 times the differences' own standard deviation" in page
    assert "p = 0.25" in page


def test_csv_has_every_cell_unrounded(results):
    cells = list(csv.DictReader(io.StringIO(tables.cells_csv(results))))
    assert len(cells) == 9
    assert cells[3] == {
        "row": "w/o_mask", "seed": "0", "state": "ok", "train_minutes": "",
        "psnr": "19.9", "flow_error": "0.6", "odd": "",
    }  # fmt: skip
    assert [cell["state"] for cell in cells[3:7]] == ["ok", "ok", "failed", "waiting"]
    summary = list(csv.DictReader(io.StringIO(tables.summary_csv(results))))
    assert len(summary) == 9
    assert float(summary[3]["difference"]) == pytest.approx(-0.2)
    assert float(summary[3]["p_holm"]) >= float(summary[3]["p"])
    assert summary[6]["mean"] == ""


def test_latex_escapes_and_marks_the_best(results):
    page = tables.latex(results)
    assert r"flow\_error $\downarrow$" in page
    assert r"full & $\mathbf{21.0 \pm 1.0}$" in page
    assert r"w/o\_mask & $20.8 \pm 0.9$" in page
    assert r"broken & -- & -- & -- \\" in page
    assert page.count(r"\\") == 4


def test_best_goes_the_metrics_way(results):
    assert results.best("psnr") == "full"
    assert results.best("flow_error") == "full"
    assert results.best("odd") is None


def test_plot_draws_rows_without_scores_too(results, tmp_path):
    plot(results, tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    assert Path(tmp_path / "table.png").stat().st_size > 10_000
