"""The example plugin works from its folder and keeps the contract."""

import sys
import tomllib
from pathlib import Path

import pytest

from motion_lab import cli
from registry import EXTRACTORS, load_plugin

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"


@pytest.fixture(autouse=True)
def _leave_no_trace():
    yield
    if "pulse" in EXTRACTORS:
        EXTRACTORS.remove("pulse")
    for module in [name for name in sys.modules if name.startswith("motion_lab_pulse")]:
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
