"""Both components keep their kinds' contracts: the checks that Motion Lab's own components pass."""

from motion_lab_example.extractor import Pulse

from motion_lab.conformance import conformance_tests
from registry import BACKBONES, EXTRACTORS

test_pulse = conformance_tests("extractors", "pulse", width=16)
test_gated_conv = conformance_tests("backbones", "gated_conv", width=16, layers=2)


def test_names_are_registered():
    assert "pulse" in EXTRACTORS
    assert "gated_conv" in BACKBONES


def test_window_grows_with_layers():
    assert [Pulse(layers=layers).window for layers in (1, 2, 3)] == [1, 3, 7]
