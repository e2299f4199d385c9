"""Both components keep their kinds' contracts: the checks that Motion Lab's own components pass."""

import pytest
from motion_lab_example.extractor import Pulse

from motion_lab.conformance import Subject, checks_for
from registry import BACKBONES, EXTRACTORS

SPECS = {
    "extractors": {"name": "pulse", "width": 16},
    "backbones": {"name": "gated_conv", "width": 16, "layers": 2},
}
CASES = [(kind, check) for kind in SPECS for check in checks_for(kind)]


@pytest.mark.parametrize(
    ("kind", "check"), CASES, ids=[f"{kind}-{check.__name__}" for kind, check in CASES]
)
def test_contract(kind, check):
    check(Subject(kind, SPECS[kind]))


def test_names_are_registered():
    assert "pulse" in EXTRACTORS
    assert "gated_conv" in BACKBONES


def test_window_grows_with_layers():
    assert [Pulse(layers=layers).window for layers in (1, 2, 3)] == [1, 3, 7]
