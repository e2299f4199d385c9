"""The engine resumes exactly, stops cleanly, and never writes half a file or a bad one."""

import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from motion_lab.errors import MotionLabError, UsageError
from motion_lab.models.weights import load_weights
from motion_lab.training import loop
from motion_lab.training.loop import schedule, train

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
assert _spec is not None
assert _spec.loader is not None
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)
ToyTask, toy_config = toy.ToyTask, toy.toy_config


class Interrupted(ToyTask):
    """Presses Ctrl-C during a step."""

    def __init__(self, at, number=signal.SIGINT):
        super().__init__()
        self.at, self.number = at, number

    def loss(self, batch, step):
        if step == self.at:
            os.kill(os.getpid(), self.number)
        return super().loss(batch, step)


def state_of(folder):
    return (folder / "state.safetensors").read_bytes()


def log_of(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds", None)
    return lines


def assert_same_run(a, b):
    """Weights, moving average, optimizer and logged losses agree bit for bit."""
    left, right = (load_file(folder / "state.safetensors") for folder in (a, b))
    assert left.keys() == right.keys()
    for kind in ("model/", "probe/", "ema/", "optimizer/"):
        assert any(name.startswith(kind) for name in left)
    for name in left:
        assert torch.equal(left[name], right[name]), name
    assert log_of(a) == log_of(b)
    (state_a, *_), (state_b, *_) = (load_weights(f / "base.safetensors") for f in (a, b))
    assert all(torch.equal(state_a[name], state_b[name]) for name in state_a)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nothing disturbed; not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    train(ToyTask(), toy_config(), folder, resume=False, device="cpu")
    return folder


@pytest.fixture
def stopped(tmp_path):
    """A run that Ctrl-C stopped after six steps."""
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(5), toy_config(), tmp_path, resume=False, device="cpu")
    return tmp_path


@pytest.mark.parametrize("at", [0, 6, 15])
def test_resumed_run_equals_an_uninterrupted_one(finished, tmp_path, at):
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(at), toy_config(), tmp_path, resume=False, device="cpu")
    assert load_weights(tmp_path / "base.safetensors")[2]["steps"] == str(at + 1)
    # Initialised otherwise: nothing of it may survive the resumption.
    train(ToyTask(seed=99), toy_config(), tmp_path, resume=True, device="cpu")
    assert_same_run(finished, tmp_path)


def test_crashed_run_goes_on_from_its_last_checkpoint(finished, tmp_path):
    class Crashing(ToyTask):
        def loss(self, batch, step):
            if step == 13:
                raise OSError("the disk went away")
            return super().loss(batch, step)

    with pytest.raises(OSError, match="went away"):
        train(Crashing(), toy_config(checkpoint_minutes=0.0), tmp_path, resume=False, device="cpu")
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 900, "losses": {}}\n{"half')
    train(ToyTask(), toy_config(), tmp_path, resume=True, device="cpu")
    assert_same_run(finished, tmp_path)


def test_weights_file_holds_the_average_and_the_whole_configuration(finished):
    state, config, facts = load_weights(finished / "base.safetensors")
    assert config["model"] == {"size": 4}
    assert config["data"]["folder"] == "here"
    assert config["training"]["steps"] == 24
    assert facts["toy"] == "yes"
    assert facts["steps"] == "24"
    saved = load_file(finished / "state.safetensors")
    assert torch.equal(state["1.weight"], saved["ema/1.weight"])
    assert not torch.equal(state["1.weight"], saved["model/1.weight"])


def test_training_learns_and_logs(tmp_path):
    train(ToyTask(), toy_config(steps=200), tmp_path, resume=False, device="cpu")
    losses = [line["losses"]["fit"] for line in log_of(tmp_path) if "losses" in line]
    assert len(losses) == 40
    assert losses[-1] < 0.7 * losses[0]
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_nan_stops_with_the_last_good_state_kept(stopped):
    before = state_of(stopped)
    with pytest.raises(MotionLabError, match=r"diverged at step 10: loss nan.*of step 6, is kept"):
        train(ToyTask(poison=10), toy_config(), stopped, resume=True, device="cpu")
    assert state_of(stopped) == before


def test_nan_before_the_first_checkpoint_leaves_no_state(tmp_path):
    with pytest.raises(MotionLabError, match=r"step 0: loss nan.*No state had been saved"):
        train(ToyTask(poison=0), toy_config(), tmp_path, resume=False, device="cpu")
    assert not list(tmp_path.glob("*.safetensors"))


def test_gradient_that_is_not_finite_stops_too(tmp_path):
    class Steep(ToyTask):
        def loss(self, batch, step):
            total, parts = super().loss(batch, step)
            return total + (self.model[1].weight * 0).sqrt().sum(), parts

    with pytest.raises(MotionLabError, match="gradient norm"):
        train(Steep(), toy_config(), tmp_path, resume=False, device="cpu")


def test_sigterm_saves_and_exits_with_its_code(tmp_path):
    with pytest.raises(SystemExit) as stop:
        train(Interrupted(3, signal.SIGTERM), toy_config(), tmp_path, resume=False, device="cpu")
    assert stop.value.code == 128 + signal.SIGTERM
    assert load_weights(tmp_path / "base.safetensors")[2]["steps"] == "4"


def test_second_interrupt_ends_at_once(tmp_path):
    class Impatient(ToyTask):
        def loss(self, batch, step):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("the second signal came too late")

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(Impatient(), toy_config(), tmp_path, resume=False, device="cpu")
    assert not (tmp_path / "state.safetensors").exists()
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_in_a_real_process_saves_and_says_how_to_resume(tmp_path):
    command = [sys.executable, str(Path(toy.__file__)), str(tmp_path), "100000"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    log = tmp_path / "log.jsonl"
    while not (log.exists() and log.read_text()) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT, said
    assert f"motion-lab train base -o {tmp_path} --resume" in " ".join(said.split())
    assert not list(tmp_path.glob(".*"))
    steps = int(load_weights(tmp_path / "base.safetensors")[2]["steps"])
    train(ToyTask(), toy_config(steps=steps + 2), tmp_path, resume=True, device="cpu")
    assert load_weights(tmp_path / "base.safetensors")[2]["steps"] == str(steps + 2)


def test_finished_run_is_not_resumed(finished):
    with pytest.raises(UsageError, match=r"already at step 24 of 24.*training\.steps"):
        train(ToyTask(), toy_config(), finished, resume=True, device="cpu")


@pytest.mark.parametrize("keep", [0, 4, 300, -1])
def test_truncated_state_is_refused_in_words(stopped, keep):
    path = stopped / "state.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(MotionLabError, match="truncated or no training state"):
        train(ToyTask(), toy_config(), stopped, resume=True, device="cpu")


def test_state_of_another_model_is_refused_in_words(stopped):
    task = ToyTask()
    task.model[5] = torch.nn.Linear(8, 5)
    with pytest.raises(MotionLabError, match="state of another model"):
        train(task, toy_config(), stopped, resume=True, device="cpu")


def test_failed_checkpoint_keeps_the_one_before(stopped, monkeypatch):
    before = state_of(stopped)

    def full(tensors, path, facts):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("motion_lab.training.state.save_file", full)
    with pytest.raises(OSError, match="No space"):
        train(ToyTask(), toy_config(), stopped, resume=True, device="cpu")
    assert state_of(stopped) == before
    assert not list(stopped.glob(".*"))


def test_error_in_the_batch_thread_reaches_the_user(tmp_path):
    class Broken(ToyTask):
        def batch(self, step):
            if step == 4:
                raise UsageError("clip 7 is gone")
            return super().batch(step)

    with pytest.raises(UsageError, match="clip 7 is gone"):
        train(Broken(), toy_config(), tmp_path, resume=False, device="cpu")


def test_batches_come_in_order_and_only_a_little_ahead(tmp_path):
    task = Interrupted(5)
    with pytest.raises(KeyboardInterrupt):
        train(task, toy_config(), tmp_path, resume=False, device="cpu")
    assert task.seen == list(range(len(task.seen)))
    assert len(task.seen) <= 6 + loop._PREFETCHED


def test_schedule_warms_up_and_falls_towards_zero():
    rates = [schedule(step, 10, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == rates[9] == 1
    assert 0 < rates[-1] < 0.01
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert schedule(0, 0, 1) == 1
    held = [schedule(step, 10, 100, 60) for step in range(100)]
    assert held[:10] == rates[:10]
    assert held[10:61] == [1] * 51
    assert held[80] == pytest.approx(0.5)
    assert [schedule(step, 10, 100, 5) for step in range(100)] == rates
