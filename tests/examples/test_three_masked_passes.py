"""The example of three masked passes runs, and its two ways agree (it compares them itself)."""

import runpy
import sys
from pathlib import Path

import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "three_masked_passes.py"


def test_one_call_gives_what_three_masked_passes_give(monkeypatch, capsys):
    threads = str(torch.get_num_threads())
    options = ["--side", "12", "--frames", "1", "--rounds", "1", "--threads", threads]
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *options])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    assert "1 frames of 144 tokens, 44% of them inside their mask" in printed
    assert "same output" in printed
    assert "times faster" in printed
