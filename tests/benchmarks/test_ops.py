"""The smallest cases of every op, really run: ours and the peers at hand give right results."""

import pytest

from benchmarks.commands import run
from benchmarks.harness import results
from benchmarks.harness.timing import Budget

SMALL = {
    "selective_scan": ("small-mamba-l", {"ours", "loop"}),
    "selective_scan_step": ("b1-d1536-n16", {"ours", "loop"}),
    "grid_sample": ("fomm-11-grids", {"ours", "torch", "torch_copies"}),
    "warp": ("small-volume", {"ours", "torch"}),
    "region_attention": ("small-16x16", {"ours", "sdpa"}),
    "pipeline": ("small-256-decode-motion", {"ours", "torch"}),
}


@pytest.mark.parametrize("op", SMALL)
def test_a_case_runs_and_everybody_here_is_right(lab, tmp_path, monkeypatch, op):
    monkeypatch.setattr(run, "QUICK", Budget(seconds=0, least=2, most=2))
    case, who = SMALL[op]
    status, said = lab.command("run", op, "--case", case, "--quick", "--output", "out.jsonl")
    assert status == 0, said
    found = results.read(tmp_path / "out.jsonl").rows
    assert {row.who for row in found if row.status == "measured"} >= who
    assert not [row for row in found if row.status in ("wrong", "failed")]
    assert all(row.note for row in found if row.status == "absent")
    assert max(map(len, said.splitlines())) <= 120


def test_profile_writes_a_trace_and_prints_the_commands_that_look_deeper(lab, tmp_path):
    status, said = lab.command(
        "profile", "warp", "--case", "small-volume", "--device", "cpu", "-o", "out"
    )
    assert status == 0
    trace = (tmp_path / "out" / "warp-small-volume-cpu.json").read_text()
    assert "motion_lab::grid_sample_backward" in trace
    assert "ncu --nvtx --nvtx-include 'forward/'" in said
    assert "profile warp --case small-volume --device cuda --no-trace -o out" in said


def test_profile_without_a_trace_only_runs(lab, tmp_path):
    status, _ = lab.command(
        "profile", "selective_scan_step", "--device", "cpu", "--no-trace", "-o", "out"
    )
    assert status == 0
    assert not list((tmp_path / "out").iterdir())
