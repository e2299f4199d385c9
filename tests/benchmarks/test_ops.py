"""The smallest cases of every op, really run: ours and torch give right results."""

import sys
from dataclasses import replace

import pytest
import torch

from benchmarks import peers, selective_scan
from benchmarks.commands import plot, run
from benchmarks.harness import results
from benchmarks.harness.case import FORWARD, Setting
from benchmarks.harness.timing import Budget

SMALL = {
    "selective_scan": ("small-mamba-l", ["loop"]),
    "selective_scan_step": ("b1-d1536-n16", ["loop"]),
    "causal_conv1d": ("small-mamba-l", ["torch"]),
    "grid_sample": ("fomm-11-grids", ["torch", "torch_copies"]),
    "warp": ("small-volume", ["torch"]),
    "region_attention": ("small-16x16", ["sdpa"]),
    "pipeline": ("small-256-decode-motion", ["torch"]),
    "transformers_mamba": ("mamba-h256", ["transformers"]),
}


@pytest.mark.parametrize("op", SMALL)
def test_a_case_runs_and_everybody_here_is_right(lab, tmp_path, monkeypatch, op):
    monkeypatch.setattr(run, "QUICK", Budget(seconds=0, least=2, most=2))
    case, peers = SMALL[op]
    command = ("run", op, "--case", case, "--quick", "--output", "out.jsonl", "--peers")
    status, said = lab.command(*command, ",".join(peers))
    assert status == 0, said
    found = results.read(tmp_path / "out.jsonl").rows
    assert {row.who for row in found} == {"ours", *peers}
    assert {row.status for row in found} == {"measured"}, said
    assert max(map(len, said.splitlines())) <= 120


def test_a_sweep_is_drawn_as_time_against_work(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "QUICK", Budget(seconds=0, least=2, most=2))
    cases = ("--case", "runs-32", "--case", "scattered with a plan-32")
    command = ("run", "region_attention_density", *cases, "--quick", "--output", "out.jsonl")
    status, said = lab.command(*command, "--peers", "sdpa")
    assert status == 0, said
    rows = [row for row in results.read(tmp_path / "out.jsonl").rows if row.passes == FORWARD]
    lines = plot.curves([*rows, replace(rows[0], case="runs-1", flops=32 * rows[0].flops)])
    assert set(lines) == {
        (who, series) for who in ("ours", "sdpa") for series in ("runs", "scattered with a plan")
    }
    assert [share for share, _ in lines["ours", "runs"]] == [1 / 32, 1]
    assert lines["ours", "runs"][0][1] == 1e3 * rows[0].seconds
    status, said = lab.command("plot", "out.jsonl", "-o", "out.png", "--against-work")
    assert status == 0, said
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


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


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_peer_says_why_it_cannot_be_had(device, monkeypatch):
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)  # as if it were not installed
    peers.import_problem.cache_clear()
    (mamba_ssm,) = [peer for peer in selective_scan.SCAN.peers if peer.name == "mamba_ssm"]
    reason = mamba_ssm.missing(Setting(torch.device(device), FORWARD))
    assert (
        reason
        == {
            "cpu": "its kernels run on a GPU only",
            "cuda": "not installed: CONTRIBUTING.md says how, under Benchmarks",
        }[device]
    )
