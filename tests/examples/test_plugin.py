"""The example plugin works from its folder and keeps the contract."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from motion_lab import cli
from motion_lab.conformance import check_component
from motion_lab.evaluation.ablation.plan import load_plan
from registry import BACKBONES, EXTRACTORS, load_plugin

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "motion-lab-plugin-example"
PACKAGE = EXAMPLE / "motion_lab_example"


@pytest.fixture(autouse=True)
def _leave_no_trace():
    yield
    for registry, names in ((EXTRACTORS, {"pulse", "mean"}), (BACKBONES, {"gated_conv"})):
        for name in names & set(registry):
            registry.remove(name)
    for module in [name for name in sys.modules if name.startswith("motion_lab_")]:
        del sys.modules[module]


@pytest.mark.parametrize(("kind", "name"), [("extractors", "pulse"), ("backbones", "gated_conv")])
def test_example_passes_the_checks_from_the_command_line(capsys, kind, name):
    with pytest.raises(SystemExit) as stop:
        cli.main(["components", "check", kind, name, "width=16", "--plugin", str(PACKAGE)])
    out = capsys.readouterr().out
    assert stop.value.code == 0, out
    assert f"{name} keeps the contract of {kind}" in out


def test_entry_point_names_the_module_that_declares_it():
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["motion_lab.plugins"] == {"example": PACKAGE.name}
    load_plugin(PACKAGE)
    assert EXTRACTORS.build("pulse", features=8).window == 3


def test_ablation_of_the_example_compares_it_with_the_papers_extractors():
    load_plugin(PACKAGE)
    plan = load_plan(EXAMPLE / "ablation.yaml")
    assert len(plan.build_models()) * len(plan.table.seeds) == 4


def test_component_of_the_documentation_keeps_the_contract(tmp_path):
    page = (ROOT / "docs" / "components.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    (tmp_path / "mean.py").write_text(code)
    load_plugin(tmp_path / "mean.py")
    assert [result for result in check_component("extractors", "mean") if result.message] == []
