"""The example plugin works from its folder and keeps the contract."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from motion_lab import cli
from motion_lab.conformance import check_component
from registry import EXTRACTORS, load_plugin

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "plugin"


@pytest.fixture(autouse=True)
def _leave_no_trace():
    yield
    for name in {"pulse", "mean"} & set(EXTRACTORS):
        EXTRACTORS.remove(name)
    for module in [name for name in sys.modules if name.startswith("motion_lab_p")]:
        del sys.modules[module]


def test_example_passes_the_checks_from_the_command_line(capsys):
    folder = str(EXAMPLE / "motion_lab_pulse")
    with pytest.raises(SystemExit) as stop:
        cli.main(["components", "check", "extractors", "pulse", "width=16", "--plugin", folder])
    out = capsys.readouterr().out
    assert stop.value.code == 0, out
    assert "pulse keeps the contract of extractors" in out


def test_entry_point_names_the_module_that_declares_it():
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["motion_lab.plugins"] == {"pulse": "motion_lab_pulse"}
    load_plugin(EXAMPLE / "motion_lab_pulse")
    assert EXTRACTORS.build("pulse", features=8).window == 3


def test_component_of_the_documentation_keeps_the_contract(tmp_path):
    page = (ROOT / "docs" / "components.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    (tmp_path / "mean.py").write_text(code)
    load_plugin(tmp_path / "mean.py")
    assert [result for result in check_component("extractors", "mean") if result.message] == []
