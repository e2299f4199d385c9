"""An ablation that is killed with its worker at work goes on where it was."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from motion_lab import cli
from motion_lab.training.state import saved_progress

STEPS = 12
TABLE = f"""
title: Test
stage: base
config: tiny
settings:
  training.steps: {STEPS}
  training.batch_size: 2
  training.log_every: 1
  training.picture_every: 1000
  training.checkpoint_minutes: 0
  data.folder: pairs
  data.groups: 6
  data.held_out_groups: 1
  data.motion_from: 1
  data.appearance_from: 2
rows: {{full: {{}}}}
seeds: [0]
minutes: 5
evaluation: {{identities: 2}}
metrics: {{psnr: higher}}
"""


def steps_logged(folder):
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [entry["step"] for entry in map(json.loads, lines) if "losses" in entry]


def test_a_killed_ablation_resumes_its_running_cell(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.yaml").write_text(TABLE)
    cell = tmp_path / "runs/ablation-table/full/seed0"
    # This very package, also where another checkout is installed.
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parents[2]))
    command = [sys.executable, "-m", "motion_lab", "ablate", "table.yaml", "--threads", "1"]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not (cell / "state.safetensors").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    # The worker notices, saves and ends; the next one waits for it.
    with pytest.raises(SystemExit) as stop:
        cli.main(["ablate", "table.yaml", "--threads", "1"])
    assert stop.value.code == 0, capsys.readouterr().err
    assert saved_progress(cell).step == STEPS
    assert "Go on with" not in (cell / "output.log").read_text()
    assert steps_logged(cell) == list(range(1, STEPS + 1))
    assert "| full |" in (tmp_path / "runs/ablation-table/table.md").read_text()
