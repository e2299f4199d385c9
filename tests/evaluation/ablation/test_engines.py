"""Workers as processes: their last words, their limits, and that none outlives what started it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from motion_lab.errors import UsageError
from motion_lab.evaluation.ablation import engines
from motion_lab.evaluation.ablation.engines import Job, carry_out, local_engine, ray_engine

# Stands in for the real worker, which a process takes seconds to import.
TOY = """
import os, signal, sys, threading, time
from pathlib import Path
folder, order = Path(sys.argv[1]), sys.argv[2]
(folder / "threads").write_text(os.environ["OMP_NUM_THREADS"])
if order == "wait":
    def save(number, frame):
        (folder / "saved").touch()
        sys.exit(143)
    signal.signal(signal.SIGTERM, save)
    (folder / "started").touch()
    time.sleep(30)
if order == "fail":
    print("much\\n" * 20 + "step 1: it broke")
    sys.exit(3)
if order == "die":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def job(tmp_path):
    (tmp_path / "toy_worker.py").write_text(TOY)

    def make(order, name="cell", minutes=None):
        return Job(Path(name), (order,), 1, minutes, tmp_path, "toy_worker")

    return make


def wait_for(path):
    for _ in range(200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def test_a_worker_says_nothing_when_it_is_done(job, tmp_path):
    assert carry_out(job("end")) == ""
    assert (tmp_path / "cell/threads").read_text() == "1"


def test_a_failed_worker_leaves_its_last_words(job):
    said = carry_out(job("fail"))
    assert said.startswith("exit code 3\n")
    assert said.endswith("step 1: it broke")
    assert said.count("much") < 10


def test_a_killed_worker_is_explained(job):
    assert "killed (signal 9), as the system does when memory runs out" in carry_out(job("die"))


def test_a_worker_past_its_limit_is_asked_to_save(job, tmp_path):
    assert "limit of 0.02 minutes" in carry_out(job("wait", minutes=0.02))
    assert (tmp_path / "cell/saved").exists()


def test_leaving_the_engine_ends_its_workers_and_starts_no_more(job, tmp_path):
    with local_engine(2) as engine:
        futures = [engine.submit(job("wait", name)) for name in ("a", "b", "c")]
        wait_for(tmp_path / "a/started")
        wait_for(tmp_path / "b/started")
    assert (tmp_path / "a/saved").exists()
    assert (tmp_path / "b/saved").exists()
    assert futures[2].cancelled()
    assert not (tmp_path / "c").exists()


def test_a_worker_ends_itself_when_its_starter_is_killed(tmp_path):
    """The real worker's line to its starter, without the rest of it."""
    script = (
        "import sys, threading, time\n"
        "from motion_lab.evaluation.ablation import worker\n"
        "threading.Thread(target=worker._end_with_parent, daemon=True).start()\n"
        "print('ready', flush=True)\n"
        "time.sleep(30)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdin.close()  # what the system does for a killed process
    assert process.wait(10) == -signal.SIGTERM
    process.stdout.close()


def test_a_ray_cluster_that_is_not_there_is_said_at_once():
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match="no cluster answers there"):
        ray_engine("127.0.0.1:9", gpus=0).__enter__()


def test_cells_run_on_a_ray_cluster(job, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    # Ray's workers are to import this very package.
    root = str(Path(engines.__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else it writes a token to the home folder
    with ray_engine("local", gpus=0) as engine:
        quick, failing = engine.submit(job("end", "a")), engine.submit(job("fail", "b"))
        assert quick.result(60) == ""
        assert failing.result(60).endswith("it broke")
        with pytest.raises(UsageError, match="a cell needs 1000 CPU, and the whole cluster has"):
            engine.submit(replace(job("end"), threads=1000))
        engine.submit(job("wait", "c"))
        wait_for(tmp_path / "c/started")
    wait_for(tmp_path / "c/saved")
    assert (tmp_path / "a/threads").read_text() == "1"
