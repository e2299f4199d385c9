"""Where workers run: in processes of this machine, or of a Ray cluster's."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from motion_lab.errors import UsageError
from motion_lab.evaluation.ablation.folders import OUTPUT_FILE, last_lines

WORKER = "motion_lab.evaluation.ablation.worker"
_LOOK_SECONDS = 0.2
_SAVE_SECONDS = 60.0


@dataclass(frozen=True)
class Job:
    """One worker to run.

    Attributes:
        folder: the cell's.
        arguments: further arguments of the worker.
        threads: CPU threads it may use.
        minutes: after which it is ended; None for no limit.
        at: working directory, in which relative paths of the configuration lie.
        module: the worker.
    """

    folder: Path
    arguments: tuple[str, ...]
    threads: int
    minutes: float | None
    at: Path
    module: str = WORKER


class Engine(Protocol):
    """Runs jobs, some at a time."""

    def submit(self, job: Job) -> Future[str]:
        """Run a job when there is room; the result is what went wrong, or nothing."""
        ...


def carry_out(job: Job, stopped: Callable[[], bool] = lambda: False) -> str:
    """Run one worker to its end; what went wrong, or ``""``.

    Whatever ends this call early, the worker is asked to save and given a minute for it.
    """
    folder = job.at / job.folder
    folder.mkdir(parents=True, exist_ok=True)
    # A file of its own: one whose ablation was killed may still write its last words.
    (folder / OUTPUT_FILE).unlink(missing_ok=True)
    with (folder / OUTPUT_FILE).open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", job.module, str(job.folder), *job.arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=job.at,
            env=_environment(job),
            # Ctrl-C is for the ablation, which tells its workers itself.
            start_new_session=True,
        )
        end = time.monotonic() + 60 * job.minutes if job.minutes else float("inf")
        try:
            while process.poll() is None and time.monotonic() < end and not stopped():
                time.sleep(_LOOK_SECONDS)
            late = process.poll() is None and not stopped()
        finally:
            _end(process)
    if late:
        return (
            f"ended after its limit of {job.minutes:g} minutes; what it has trained is kept, so "
            "with a higher limit (minutes) it goes on from there"
        )
    return _explain(process.returncode, folder) if process.returncode else ""


def _environment(job: Job) -> dict[str, str]:
    # Threads that wait actively would take the processor from other workers' threads.
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        "OMP_NUM_THREADS": str(job.threads),
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_SAVE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _explain(code: int, folder: Path) -> str:
    if code == -9:
        why = "killed (signal 9), as the system does when memory runs out"
    else:
        why = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return "\n".join(filter(None, [why, last_lines(folder)]))


@contextlib.contextmanager
def local_engine(jobs: int) -> Iterator[Engine]:
    """Up to ``jobs`` workers at a time on this machine. Leaving the block ends those that run."""
    stop = threading.Event()
    threads = ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="cell")

    class Local:
        def submit(self, job: Job) -> Future[str]:
            return threads.submit(carry_out, job, stop.is_set)

    try:
        yield Local()
    finally:
        stop.set()
        threads.shutdown(wait=True, cancel_futures=True)


def _expect_answer(address: str) -> None:
    """Ray itself tries an address that nobody answers at for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UsageError(f"--ray {address}: no cluster answers there ({error}).") from error


@contextlib.contextmanager
def ray_engine(address: str, gpus: int) -> Iterator[Engine]:
    """Workers on a Ray cluster, as many at a time as it has processors (and GPUs) for.

    Every machine needs Motion Lab installed and must see the working directory under one path.

    Args:
        address: ``local`` for a cluster of this machine alone, made for the purpose; ``auto`` for
            the one that this machine belongs to; else its address, ``HOST:PORT``.
        gpus: how many each worker needs.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError("--ray needs Ray: pip install 'motion-lab[ray]'.") from error
    if address not in ("local", "auto"):
        _expect_answer(address)
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"--ray {address}: no cluster answers there ({error}).") from error
    running = []
    offered = ray.cluster_resources()

    class OnRay:
        def submit(self, job: Job) -> Future[str]:
            for name, wanted in (("CPU", job.threads), ("GPU", gpus)):
                if offered.get(name, 0) < wanted:  # else the cell would wait for ever
                    raise UsageError(
                        f"--ray {address}: a cell needs {wanted} {name}, and the whole cluster has "
                        f"{offered.get(name, 0):g}. Change --threads or --device."
                    )
            remote = ray.remote(carry_out).options(
                num_cpus=job.threads, num_gpus=gpus, max_retries=0, name=job.folder.name
            )
            running.append(remote.remote(job))
            return running[-1].future()

    try:
        yield OnRay()
    finally:
        for each in running:  # interrupts each call of carry_out, which ends its worker
            ray.cancel(each, force=False)
        if running:
            ray.wait(running, num_returns=len(running), timeout=_SAVE_SECONDS)
        ray.shutdown()
