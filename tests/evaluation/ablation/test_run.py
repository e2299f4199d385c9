"""Cells are trained once, failures are survived, and what is there is never mixed with another."""

import json
import threading
from concurrent.futures import Future
from contextlib import nullcontext

import numpy as np
import pytest
from safetensors.numpy import save_file

from motion_lab.errors import MotionLabError, UsageError
from motion_lab.evaluation.ablation import folders, run
from motion_lab.evaluation.ablation.command import list_cells
from motion_lab.evaluation.ablation.plan import load_plan
from motion_lab.evaluation.ablation.run import Setting, ablate
from motion_lab.evaluation.results import Result

TABLE = """
title: Test
stage: base
config: tiny
settings: {training.steps: 7}
rows: {full: {}, w/o depth: {model.depth: none}}
seeds: [0, 1]
evaluation: {identities: 2}
metrics: {psnr: higher, probe_r2.yaw: higher}
"""


class Workers:
    """An engine whose workers train nothing: they leave what real ones leave."""

    def __init__(self, fails=(), data=""):
        self.fails, self.data, self.worked = fails, data, []

    def submit(self, job):
        future = Future()
        if "--prepare" in job.arguments:
            future.set_result(self.data)
            return future
        self.worked.append("/".join(job.folder.parts[-2:]))
        if self.worked[-1] in self.fails:
            future.set_result("exit code 1\nit broke")
            return future
        leave_state(job.folder, 7)
        seed = int(job.folder.name.removeprefix("seed"))
        scores = {"psnr": 20.0 + seed, "probe_r2": {"yaw": 0.5}, "parts": {"other": 1}}
        Result("base", scores, {"heads": "few"}).write(job.folder / "scores.json")
        future.set_result("")
        return future


def leave_state(folder, step):
    facts = {"progress": json.dumps({"step": step, "sums": {}, "seconds": 60.0})}
    save_file({"x": np.zeros(1)}, folder / "state.safetensors", facts)


@pytest.fixture
def go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "plot", lambda results, path: path.write_text("drawn"))

    def ablation(table=TABLE, fails=(), again=False, data=""):
        (tmp_path / "table.yaml").write_text(table)
        workers = Workers(fails, data)
        setting = Setting(evaluate_again=again)
        plan = load_plan("table.yaml")
        results = ablate(plan, tmp_path / "out", nullcontext(workers), setting, ["motion-lab"])
        return workers.worked, results

    return ablation


ALL = ["full/seed0", "w-o-depth/seed0", "full/seed1", "w-o-depth/seed1"]


def test_every_cell_is_trained_once(go, tmp_path):
    worked, results = go()
    assert worked == ALL
    assert results.reference.scores == {"psnr": {0: 20, 1: 21}, "probe_r2.yaw": {0: 0.5, 1: 0.5}}
    for name in ("table.md", "table.csv", "table.tex", "table.png", "cells.csv"):
        assert (tmp_path / "out" / name).stat().st_size
    assert go()[0] == []


def test_a_failed_cell_is_survived_named_and_tried_again(go, tmp_path):
    _, results = go(fails=["full/seed1"])
    assert results.rows[0].failures == {1: "exit code 1\nit broke"}
    assert "it broke" in (tmp_path / "out/table.md").read_text()
    worked, results = go()
    assert worked == ["full/seed1"]
    assert not results.rows[0].failures
    assert "it broke" not in (tmp_path / "out/table.md").read_text()


def test_without_data_nothing_is_trained(go):
    with pytest.raises(MotionLabError, match="data of 'full, seed 0' could not be made: no disk"):
        go(data="no disk")
    assert go()[0] == ALL


def test_a_new_seed_or_row_trains_only_itself(go):
    go()
    assert go(TABLE.replace("[0, 1]", "[0, 1, 2]"))[0] == ["full/seed2", "w-o-depth/seed2"]


def test_trained_cells_are_scored_again_without_losing_their_training(go, tmp_path):
    go()
    state = tmp_path / "out/full/seed0/state.safetensors"
    before = state.read_bytes()
    # Other people to evaluate on, or asked for: the workers come, and find the training done.
    assert go(TABLE.replace("identities: 2", "identities: 3"))[0] == ALL
    assert state.read_bytes() == before
    assert go(TABLE.replace("identities: 2", "identities: 3"), again=True)[0] == ALL


def test_cells_trained_otherwise_are_refused(go):
    go()
    with pytest.raises(UsageError, match=r"seed0 was trained with training\.steps=7, .* says 8"):
        go(TABLE.replace("steps: 7", "steps: 8"))
    with pytest.raises(UsageError, match=r"model\.depth\.name"):
        go(TABLE.replace("{model.depth: none}", "{model.depth: learned, training.warmup: 1}"))


def test_scores_of_different_protocols_never_share_a_table(go, tmp_path):
    go()
    path = tmp_path / "out/full/seed0/scores.json"
    Result("base", {"psnr": 1.0}, {"heads": "many"}).write(path)
    with pytest.raises(MotionLabError, match=r"different protocols.*heads.*--evaluate-again"):
        go()


def test_an_unknown_score_is_named_with_the_nearest(go):
    with pytest.raises(MotionLabError, match=r"no cell has a score called 'psnrr'.*psnr"):
        go(TABLE.replace("psnr:", "psnrr:"))
    assert go()[0] == []


def test_two_ablations_in_one_folder_are_refused(go, tmp_path):
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with run._alone(tmp_path / "out"):
            inside.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(10)
    try:
        with pytest.raises(UsageError, match=r"another ablation \(process \d+\) is at work"):
            go()
    finally:
        leave.set()
        holder.join()
    assert go()[0] == ALL


def test_list_shows_every_cell_and_trains_nothing(go, tmp_path, capsys):
    go(fails=["full/seed1"])
    list_cells("table.yaml", [], tmp_path / "out")
    shown = capsys.readouterr().out
    assert shown.count("done") == 3
    assert "full, seed 1 failed: exit code 1" in shown
    assert "model.depth" in shown


def test_status_says_how_far_a_cell_is(go, tmp_path):
    go(fails=["full/seed0"])
    cells = load_plan(tmp_path / "table.yaml").cells(tmp_path / "out")
    assert [str(folders.status(cell)) for cell in cells] == ["failed", "done", "done", "done"]
    (tmp_path / "out/full/seed1/scores.json").unlink()
    leave_state(tmp_path / "out/w-o-depth/seed0", 3)
    (tmp_path / "out/w-o-depth/seed0/scores.json").unlink()
    assert [str(folders.status(cell)) for cell in cells[1:3]] == ["at step 3", "to be evaluated"]
