"""The checks: each takes a :class:`Subject` and raises AssertionError in a builder's words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from motion_lab.conformance import datasets, metrics
from motion_lab.conformance.kinds import (
    FEATURES,
    FRAME,
    MOTION,
    NETWORKS,
    Subject,
    expect_shape,
)
from motion_lab.models.weights import load_weights, save_weights
from registry import RegistryError

Check = Callable[[Subject], None]


@dataclass(frozen=True)
class Result:
    """How a check went: ``message`` is empty where it passed."""

    check: str
    message: str
    seconds: float


def check_component(kind: str, spec: str | Mapping[str, Any]) -> list[Result]:
    """Run every check of ``kind`` on a component; an error of its own counts as failed."""
    subject = Subject(kind, spec)
    results = []
    for check in checks_for(kind):
        start = time.perf_counter()
        try:
            check(subject)
            message = ""
        except AssertionError as error:
            message = str(error)
        except RegistryError:
            raise  # what cannot be built has nothing to check: the registry's error says why
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
        results.append(Result(check.__name__, message, time.perf_counter() - start))
    return results


def checks_for(kind: str) -> tuple[Check, ...]:
    """The checks that apply to components of ``kind``."""
    own = _OF_KIND.get(kind, ())
    return (*_OF_NETWORKS, *own) if kind in NETWORKS else own


def shapes(subject: Subject) -> None:
    """Outputs have the shapes and ranges of the kind, trained or in use, for batches of 1 and 3."""
    module = subject.build()
    for batch, training in ((3, True), (3, False), (1, False)):
        inputs = subject.inputs(batch)
        outputs = module.train(training)(*inputs)
        subject.verify(module, inputs, outputs)
        for value in tensors(outputs):
            assert value.isfinite().all(), "outputs must be finite"


def dtypes(subject: Subject) -> None:
    """float32 gives float32; under bfloat16 autocast outputs are floats and finite."""
    module = subject.build().eval()
    for value in tensors(module(*subject.inputs())):
        assert value.dtype == torch.float32, f"float32 inputs gave {value.dtype}"
    with torch.autocast("cpu", torch.bfloat16):
        outputs = tensors(module(*subject.inputs()))
    for value in outputs:
        assert value.is_floating_point(), f"autocast gave {value.dtype}"
        assert value.isfinite().all(), "outputs must be finite under bfloat16 autocast"


def gradients(subject: Subject) -> None:
    """Every parameter that asks for a gradient gets one."""
    module = subject.build().train()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        # A layer that starts at zero keeps gradients from those below it, at the start alone.
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    weigh = torch.Generator().manual_seed(2)
    outputs = [value for value in tensors(module(*subject.inputs(4))) if value.requires_grad]
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    assert outputs or not parameters, "no output depends on any parameter"
    if not parameters:
        return
    sum((y * torch.randn(y.shape, generator=weigh)).sum() for y in outputs).backward()  # type: ignore[union-attr]
    missed = [name for name, p in parameters.items() if p.grad is None or not p.grad.any()]
    assert not missed, f"no gradient reaches {', '.join(missed)}"
    broken = [
        n for n, p in parameters.items() if p.grad is not None and not p.grad.isfinite().all()
    ]
    assert not broken, f"gradients are not finite for {', '.join(broken)}"


def batch_independence(subject: Subject) -> None:
    """In use, an item's result does not depend on what else is in the batch."""
    module = subject.build().eval()
    inputs = subject.inputs(3)
    together = tensors(module(*inputs))
    for item in range(3):
        alone = tensors(module(*select(inputs, item)))
        for whole, single in zip(together, alone, strict=True):
            _expect_close("the result changes with the rest of the batch", whole[item], single[0])


def determinism(subject: Subject) -> None:
    """The same inputs give the same result bit for bit, in training too once torch is seeded."""
    for training in (False, True):
        results = []
        for _ in range(2):
            module = subject.build().train(training)
            torch.manual_seed(3)
            results.append(tensors(module(*subject.inputs())))
        for first, second in zip(*results, strict=True):
            assert torch.equal(first, second), "two runs from one seed differ"


def save_and_load(subject: Subject) -> None:
    """Saved weights put into a fresh instance give the same results bit for bit."""
    module, fresh = subject.build(seed=0), subject.build(seed=1)
    module.train()(*subject.inputs(4, seed=5))  # lets buffers such as running statistics move
    with TemporaryDirectory() as folder:
        path = Path(folder) / "component.safetensors"
        save_weights(path, module, {})
        fresh.load_state_dict(load_weights(path)[0])
    inputs = subject.inputs()
    before, after = tensors(module.eval()(*inputs)), tensors(fresh.eval()(*inputs))
    for first, second in zip(before, after, strict=True):
        assert torch.equal(first, second), "a loaded copy gives another result"


def inputs_untouched(subject: Subject) -> None:
    """The call changes none of its inputs."""
    inputs = subject.inputs()
    before = [value.clone() for value in tensors(inputs)]
    subject.build().eval()(*inputs)
    for kept, value in zip(before, tensors(inputs), strict=True):
        assert torch.equal(kept, value), "an input was changed in place"


def compilation(subject: Subject) -> None:
    """torch.compile takes it for use (without gradients), and the result stays the same."""
    module = subject.build().eval()
    inputs = subject.inputs()
    torch._dynamo.reset()
    # Traces and decomposes as the default backend does, without its minutes in a C++ compiler.
    compiled: Any = torch.compile(module, backend="aot_eager")
    with torch.no_grad():
        expected, results = tensors(module(*inputs)), tensors(compiled(*inputs))
    for eager, traced in zip(expected, results, strict=True):
        _expect_close("the compiled result differs", traced, eager)


def rest(subject: Subject) -> None:
    """A deviation of zero gives (almost) no motion, and the source is trusted nearly everywhere."""
    module = subject.build().eval()
    volume, cues, deviation = subject.inputs()
    for motion in module(volume, cues, torch.zeros_like(deviation)):
        furthest = motion.displacement.abs().max().item()
        assert furthest < 0.02, f"a deviation of zero moves pixels by up to {furthest:g}"
        trusted = motion.mask.mean().item()
        assert trusted > 0.8, f"a deviation of zero leaves the source a share of {trusted:g} only"


def stillness(subject: Subject) -> None:
    """A deviation of zero leaves the frame (almost) as it is."""
    image, warped, places, deviation = subject.inputs()
    module = subject.build().eval()
    furthest = (module(image, warped, places, 0 * deviation) - image).abs().max().item()
    assert furthest < 0.02, f"a deviation of zero changes the frame by up to {furthest:g}"


def lengths(subject: Subject) -> None:
    """Waves of any length give one frame for every 640 samples begun."""
    module: Any = subject.build().eval()
    for samples in (FRAME, FRAME + 1, 5 * FRAME - 1, 5 * FRAME):
        features = module(0.1 * torch.randn(1, samples))
        expect_shape("the features", features, (1, -(-samples // FRAME), module.features))


def window(subject: Subject) -> None:
    """Nothing further than ``window`` frames changes a frame's context; any track length runs."""
    module: Any = subject.build().eval()
    for frames in (1, 2):
        context = module(torch.randn(1, frames, FEATURES))
        expect_shape("the context", context, (1, frames, module.context))
    if module.window is None:
        return
    reach = module.window
    frames = 2 * reach + 5
    middle = frames // 2
    features = torch.randn(1, frames, FEATURES, generator=torch.Generator().manual_seed(0))
    changed = features.clone()
    changed[:, : middle - reach] += 1
    changed[:, middle + reach + 1 :] += 1
    before, after = module(features)[:, middle], module(changed)[:, middle]
    assert torch.allclose(before, after, atol=1e-5), (
        f"frames further than the claimed window of {reach} change the context"
    )


def conditions(subject: Subject) -> None:
    """Every input of the denoiser changes what it predicts."""
    module = subject.build().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    inputs, others = subject.inputs(seed=0), subject.inputs(seed=1)
    expected = module(*inputs)
    for index, name in enumerate(("noisy", "t", "audio", "source", "past")):
        swapped = list(inputs)
        swapped[index] = others[index]
        assert not torch.allclose(module(*swapped), expected), f"{name!r} makes no difference"
    expect_shape("the clean motion", expected, (len(inputs[0]), inputs[0].shape[1], MOTION))


_OF_NETWORKS: tuple[Check, ...] = (
    shapes,
    dtypes,
    gradients,
    batch_independence,
    determinism,
    save_and_load,
    inputs_untouched,
    compilation,
)
_OF_KIND: dict[str, tuple[Check, ...]] = {
    "motion_decoders": (rest,),
    "details": (stillness,),
    "frontends": (lengths,),
    "extractors": (window,),
    "backbones": (conditions,),
    "datasets": datasets.CHECKS,
    "metrics": metrics.CHECKS,
}


def tensors(tree: Any) -> list[Tensor]:
    """The tensors in nested lists and tuples, in order."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, list | tuple):
        return [tensor for part in tree for tensor in tensors(part)]
    return []


def select(tree: Any, item: int) -> Any:
    """The same nesting with one item of the batch, as a batch of one."""
    if isinstance(tree, Tensor):
        return tree[item : item + 1]
    return type(tree)(select(part, item) for part in tree)


def _expect_close(what: str, value: Tensor, expected: Tensor) -> None:
    error = (value - expected).abs().max().item() if value.numel() else 0.0
    scale = max(1.0, expected.abs().max().item() if expected.numel() else 0.0)
    assert error <= 1e-4 * scale, f"{what} by up to {error:g}"
