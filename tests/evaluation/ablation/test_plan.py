"""A table's file becomes rows and cells, and what is wrong with it is said by its path."""

from pathlib import Path

import pytest

from motion_lab.configs.loading import presets
from motion_lab.errors import UsageError
from motion_lab.evaluation.ablation.plan import load_plan

TABLE = """
title: Test
stage: base
config: tiny
settings: {training.steps: 7}
seeds: [3, 5]
evaluation: {identities: 2}
metrics: {psnr: higher}
"""


@pytest.fixture
def plan(tmp_path):
    def load(text, *overrides):
        path = tmp_path / "table.yaml"
        path.write_text(TABLE + text)
        return load_plan(path, overrides)

    return load


def test_every_combination_of_rows_and_axes_is_a_row_and_every_seed_a_cell(plan):
    made = plan(
        """
rows:
  full: {}
  w/o mask: {model.motion_decoder.mask: false}
axes:
  model.depth: [learned, none]
  training.learning_rate: {slow: 1.0e-4, fast: 1.0e-3}
""",
        "training.batch_size=2",
    )
    assert [row.label for row in made.rows] == [
        "full, learned, slow",
        "full, learned, fast",
        "full, none, slow",
        "full, none, fast",
        "w/o mask, learned, slow",
        "w/o mask, learned, fast",
        "w/o mask, none, slow",
        "w/o mask, none, fast",
    ]
    cells = made.cells(Path("out"))
    assert len(cells) == 16
    last = cells[-1]
    assert last.folder == Path("out/w-o-mask-none-fast/seed5")
    assert last.config.training.seed == 5
    assert last.config.training.steps == 7
    assert last.config.training.batch_size == 2
    assert last.config.training.learning_rate == 1e-3
    assert last.config.model["depth"] == {"name": "none"}
    assert last.config.model["motion_decoder"]["mask"] is False
    # The other seed's cell is the same but for the seed.
    other = next(cell for cell in cells if cell.row == last.row and cell.seed == 3)
    assert (other.config.model, other.config.data) == (last.config.model, last.config.data)


def test_values_of_an_axis_are_called_by_their_components(plan):
    made = plan("axes: {model.depth: [learned, {name: none}], training.warmup: [1, 2]}")
    labels = [row.label for row in made.rows]
    assert labels == ["learned, warmup=1", "learned, warmup=2", "none, warmup=1", "none, warmup=2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rowz: {full: {}}", "rowz"),
        ("", "rows or axes must say what varies"),
        ("rows: {full: 3}", "rows"),
        ("rows: {a: {}, A: {}}", "cannot be told apart"),
        ("rows: {full: {}}\nreference: fulll", "reference: 'fulll' is none of the rows full"),
        ("rows: {full: {training.seed: 1}}", "training.seed is set by seeds"),
        ("axes: {model.depth: learned}", "axes.model.depth must be a list"),
    ],
)
def test_a_wrong_table_is_refused(plan, text, message):
    with pytest.raises(UsageError, match=message):
        plan(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seeds: [1, 1]", "seeds must be different"),
        ("seeds: [a]", "seeds"),
        ("stage: third", "stage must be base or motion"),
        ("minutes: 0", "minutes must be above 0"),
        ("metrics: {psnr: upwards}", "metrics.psnr must be higher"),
        ("metrics: {}", "metrics must name"),
        ("evaluation: {identities: 4, samples: 4}", "evaluation.samples is not for stage base"),
        ("evaluation: {identities: 1}", "evaluation.identities must be at least 2"),
        ("evaluation: {identitys: 4}", "evaluation.identitys"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(tmp_path, line, message):
    key = line.partition(":")[0]
    kept = [given for given in TABLE.splitlines() if not given.startswith(f"{key}:")]
    path = tmp_path / "table.yaml"
    path.write_text("\n".join([*kept, line, "rows: {full: {}}"]))
    with pytest.raises(UsageError, match=message):
        load_plan(path)


def test_what_a_row_sets_is_checked_before_anything_trains(plan):
    with pytest.raises(UsageError, match=r"row 'odd': .*model\.dept: .*Did you mean.*'depth'"):
        plan("rows: {odd: {model.dept: none}}").cells(Path("out"))
    with pytest.raises(UsageError, match=r"row 'odd': no depth called 'lerned'.*'learned'"):
        plan("rows: {full: {}, odd: {model.depth: lerned}}").build_models()
    with pytest.raises(UsageError, match=r"row 'odd': .*no argument 'masks'.*'mask'"):
        plan("rows: {odd: {model.motion_decoder.masks: 1}}").build_models()
    asked = plan("rows: {full: {}}")
    asked.table.evaluation.metrics = ["lse[lap]"]
    with pytest.raises(UsageError, match=r"evaluation\.metrics: no metrics called.*'lse\[lab\]'"):
        asked.build_models()


@pytest.mark.parametrize("name", presets("ablation"))
def test_presets_can_be_built_and_rows_differ(name):
    made = load_plan(name)
    assert len(made.table.seeds) >= 3
    assert set(made.build_models()) == {row.label for row in made.rows}
    configs = [str(made.config(row, 0)) for row in made.rows]
    assert len(set(configs)) == len(configs)


def test_rows_of_stage_1_have_about_as_many_parameters_as_its_rivals():
    made = load_plan("stage1").build_models()
    sizes = {label: sum(p.numel() for p in model.parameters()) for label, model in made.items()}
    for rival in ("keypoint motion", "linear latent motion"):
        assert sizes[rival] == pytest.approx(sizes["full"], rel=0.1)
