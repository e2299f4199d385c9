"""The training engine: one loop for both stages, which can be stopped and resumed at any step.

Everything random about step k follows from (seed, k): the task draws its batch from them, and the
loop seeds torch before the loss. A run that is stopped and resumed therefore takes the very steps
that it would have taken, bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from motion_lab.configs.loading import as_dict
from motion_lab.configs.schema import Config, TrainingConfig
from motion_lab.errors import MotionLabError, UsageError
from motion_lab.models.weights import save_weights
from motion_lab.training.journal import Journal
from motion_lab.training.state import Ema, Progress, load_state, save_state

_PREFETCHED = 2


class Task(Protocol):
    """What the engine trains: a model, its data and its losses."""

    facts: dict[str, str]
    """What is to stand in the metadata of the weights file besides configuration and steps."""

    @property
    def model(self) -> nn.Module:
        """What is saved for use."""
        ...

    def modules(self) -> dict[str, nn.Module]:
        """All that is trained, by name: the model, and what only its losses need."""
        ...

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of a step: a function of the seed and ``step`` alone.

        Called in a thread of its own, so it draws from a generator of its own, never from torch's.
        """
        ...

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Any]]:
        """The scalar to minimise, and its parts by name for the display."""
        ...

    def pictures(self) -> dict[str, Tensor]:
        """Pictures (3, H, W) in [0, 1] by name, of the averaged model in evaluation mode."""
        ...

    def validate(self) -> dict[str, float]:
        """Scores by name, of the averaged model in evaluation mode."""
        ...


def train(
    task: Task, config: Config, folder: Path, *, resume: bool, device: torch.device | str
) -> None:
    """Train until ``config.training.steps``, keeping state and weights in ``folder``.

    Ctrl-C and SIGTERM end the run after the step at hand, with everything saved; a second Ctrl-C
    ends it at once, with what the last checkpoint saved.

    Args:
        task: what to train; its modules already lie on ``device``.
        config: how.
        folder: gets ``state.safetensors`` (to resume from), ``<stage>.safetensors`` (averaged
            weights, for use), ``log.jsonl`` and TensorBoard's events.
        resume: go on from the folder's state.
        device: where batches are moved to.

    Raises:
        UsageError: the state to resume is already at the last step.
        MotionLabError: a loss or gradient is not finite, or the state cannot be read.
        KeyboardInterrupt: after Ctrl-C; SystemExit after SIGTERM.
    """
    training, kind = config.training, torch.device(device).type
    modules = task.modules()
    ema = Ema(task.model, training.ema_decay)
    optimizer = _optimizer(modules, training)
    progress = Progress()
    if resume:
        progress = load_state(folder, {**modules, "ema": ema.module}, optimizer)
    if progress.step >= training.steps:
        raise UsageError(
            f"the run in {folder} is already at step {progress.step} of {training.steps}; to go on "
            f"further, resume with training.steps={2 * progress.step}."
        )

    saved: int | None = progress.step if resume else None
    due = time.monotonic() + 60 * training.checkpoint_minutes
    clock = time.monotonic()

    def checkpoint() -> None:
        nonlocal saved, due, clock
        progress.seconds += time.monotonic() - clock
        clock = time.monotonic()
        facts = {"steps": str(progress.step), "seconds": f"{progress.seconds:.0f}", **task.facts}
        path = folder / f"{config.stage}.safetensors"
        save_weights(path, ema.module, as_dict(config), **facts)
        # The state last: where it says that a step is done, the weights are at least as far.
        save_state(folder, {**modules, "ema": ema.module}, optimizer, progress)
        saved = progress.step
        due = time.monotonic() + 60 * training.checkpoint_minutes

    with (
        Journal(folder, progress.step, training.steps) as journal,
        _Stop() as stop,
        _Batches(task, progress.step, training.steps) as batches,
    ):
        for module in modules.values():
            module.train()
        for step in range(progress.step, training.steps):
            batch = {name: value.to(device) for name, value in batches.get().items()}
            torch.manual_seed(_seed(training.seed, step))
            rate = training.learning_rate * schedule(
                step, training.warmup, training.steps, training.decay_from
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(kind, torch.bfloat16, enabled=training.precision == "bfloat16"):
                loss, parts = task.loss(batch, step)
            losses = _as_floats({"loss": loss, **parts})
            _require_finite(losses, step, saved, folder)
            loss.backward()
            norms = {
                f"gradient norm of the {name}": float(
                    nn.utils.clip_grad_norm_(module.parameters(), training.grad_clip)
                )
                for name, module in modules.items()
            }
            _require_finite(norms, step, saved, folder)
            optimizer.step()
            ema.update(task.model, step)

            progress.step = step + 1
            for name, value in losses.items():
                progress.sums[name] = progress.sums.get(name, 0.0) + value
            journal.advance(progress.step, losses)
            if progress.step % training.log_every == 0:
                means = {name: value / training.log_every for name, value in progress.sums.items()}
                seconds = progress.seconds + time.monotonic() - clock
                journal.losses(progress.step, means, rate, seconds)
                progress.sums.clear()
            last = progress.step == training.steps
            if last or progress.step % training.picture_every == 0:
                _show(task, ema, modules, journal, progress.step)
            if last or stop.number is not None or time.monotonic() >= due:
                checkpoint()
            if stop.number is not None and not last:
                break

    if progress.step < training.steps:
        journal.say(
            f"Stopped after step {progress.step} of {training.steps}; everything is saved. Go on "
            f"with: motion-lab train {config.stage} -o {folder} --resume"
        )
        if stop.number == signal.SIGINT:
            raise KeyboardInterrupt
        assert stop.number is not None
        sys.exit(128 + stop.number)
    journal.say(f"Done: {folder / config.stage}.safetensors after {training.steps} steps.")


def schedule(step: int, warmup: int, steps: int, decay_from: int = 0) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then a cosine towards zero, which
    begins at ``decay_from`` if that is later."""
    if step < warmup:
        return (step + 1) / warmup
    start = max(warmup, decay_from)
    return 0.5 * (1 + math.cos(math.pi * max(0, step - start) / max(1, steps - start)))


def _optimizer(modules: dict[str, nn.Module], training: TrainingConfig) -> torch.optim.Optimizer:
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {
                "params": [p for p in parameters if p.ndim > 1],
                "weight_decay": training.weight_decay,
            },
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=training.learning_rate,
        betas=(0.9, 0.99),
        fused=True,
    )


def _seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])


def _as_floats(values: dict[str, Any]) -> dict[str, float]:
    return {
        name: value.item() if isinstance(value, Tensor) else float(value)
        for name, value in values.items()
    }


def _require_finite(values: dict[str, float], step: int, saved: int | None, folder: Path) -> None:
    if all(math.isfinite(value) for value in values.values()):
        return
    shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    kept = (
        f"The last good state, of step {saved}, is kept in {folder}: go on from it with --resume "
        "and, say, a lower training.learning_rate."
        if saved is not None
        else "No state had been saved yet; start again with, say, a lower training.learning_rate."
    )
    raise MotionLabError(f"training diverged at step {step}: {shown}. {kept}")


def _show(task: Task, ema: Ema, modules: dict[str, nn.Module], journal: Journal, step: int) -> None:
    ema.swap(task.model)
    for module in modules.values():
        module.eval()
    try:
        with torch.no_grad():
            journal.scores(step, task.validate())
            journal.pictures(step, task.pictures())
    finally:
        ema.swap(task.model)
        for module in modules.values():
            module.train()


class _Stop:
    """Turns the first SIGINT or SIGTERM into a request to stop; the next acts as usual."""

    def __enter__(self) -> _Stop:
        self.number: int | None = None
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self.__exit__()


class _Batches:
    """The task's batches in order, computed a little ahead in one thread."""

    def __init__(self, task: Task, first: int, end: int) -> None:
        self._task = task
        self._steps: Iterator[int] = iter(range(first, end))
        self._futures: deque[Future[dict[str, Tensor]]] = deque()

    def __enter__(self) -> _Batches:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        for _ in range(_PREFETCHED):
            self._submit()
        return self

    def get(self) -> dict[str, Tensor]:
        """The next batch; an error of the thread is raised here."""
        batch = self._futures.popleft().result()
        self._submit()
        return batch

    def _submit(self) -> None:
        step = next(self._steps, None)
        if step is not None:
            self._futures.append(self._thread.submit(self._task.batch, step))

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
