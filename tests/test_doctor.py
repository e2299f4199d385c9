"""The report on an installation."""

import importlib
import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

from motion_lab import doctor
from motion_lab.cli import app
from motion_lab.ops import _native


def lines(report):
    return {line.name: line for line in [*report.system, *report.packages]}


def test_a_sound_installation_is_healthy_and_names_what_each_op_uses():
    report = doctor.examine()
    assert report.healthy
    assert lines(report)["CPU kernels"].found.startswith(_native.cpu().isa())
    used = {(line.op, line.device): line.backend for line in report.ops if line.default}
    assert used["selective_scan", "cpu"] == "native"
    assert used["selective_scan_step", "cuda"] == "native"
    notes = [line.note for line in report.ops if line.op == "selective_scan" and line.note]
    assert notes == ["float64 by the reference"]


def test_missing_cpu_kernels_are_ill_and_come_with_their_remedy(monkeypatch):
    def missing(name):
        raise _native.NativeModuleError(f"{name} has not been built; pip install 'here[extra]'")

    monkeypatch.setattr(_native, "_load", missing)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "pip install 'here[extra]'" in " ".join(result.output.split())
    report = doctor.examine()
    assert lines(report)["CPU kernels"].good is False
    native = [line for line in report.ops if line.backend == "native"]
    assert all("has not been built" in line.problem for line in native)


def test_a_peer_that_does_not_import_is_reported_with_its_reason(tmp_path, monkeypatch):
    (tmp_path / "mambapy.py").write_text("raise OSError('undefined symbol: _ZN3c10')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mambapy", raising=False)
    importlib.invalidate_caches()
    line = lines(doctor.examine())["mambapy"]
    assert line.good is False
    assert "undefined symbol: _ZN3c10" in line.found


def test_a_backend_says_why_it_cannot_run_also_where_not_for_want_of_cuda_kernels(monkeypatch):
    monkeypatch.setitem(sys.modules, "causal_conv1d", None)  # as if it were not installed
    said = " ".join(CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "200"}).output.split())
    assert "causal_conv1d the package causal-conv1d does not import" in said


@pytest.mark.parametrize("word", ["CPU kernels", "selective_scan", "nvcc", "espeakng-loader"])
def test_the_command_prints_every_section(word):
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert word in result.output


def test_the_plain_report_needs_torch_and_numpy_alone():
    lacking = "import sys; sys.modules.update(dict.fromkeys(['typer', 'rich', 'omegaconf']));"
    run = "import runpy; runpy.run_module('motion_lab.doctor', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", lacking + run], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"torch: {torch.__version__}" in done.stdout
    assert "selective_scan on cpu: native (unasked)" in done.stdout
