"""Drop-in replacements: functions with the names and arguments of those they stand in for."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from motion_lab import ops


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """`torch.nn.functional.grid_sample`; ``align_corners=None`` means False, as it does there."""
    return ops.grid_sample(input, grid, mode, padding_mode, bool(align_corners))


def selective_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """`mamba_ssm.ops.selective_scan_interface.selective_scan_fn`, for real A and on any device.

    Results are of u's dtype and the last state, (batch, dim, state), float32, as there. Unlike
    there, the last state is differentiable, float64 is computed in float64, and neither the types
    nor the strides of the arguments must agree. Complex A, B and C are refused with a TypeError.
    """
    out, last_state = ops.selective_scan(
        u, delta, A, B, C, D, z, delta_bias, delta_softplus=delta_softplus, return_last_state=True
    )
    return (out, last_state) if return_last_state else out


# The models of transformers built on Mamba-1, and the class of their mixer.
_MIXERS = {
    "mamba": "MambaMixer",
    "falcon_mamba": "FalconMambaMixer",
    "jamba": "JambaMambaMixer",
    "zamba": "ZambaMambaMixer",
}
_TESTED = "5.16 to 5.23"
# Their activations that the convolution applies by itself.
_SILU: dict[str | None, Literal["silu"] | None] = {None: None, "silu": "silu", "swish": "silu"}


def patch_transformers() -> Undo:
    """Makes the Mamba-1 models of Hugging Face transformers compute with this package's kernels.

    Those are Mamba, FalconMamba, Jamba and Zamba, models that exist already included, on CPU and
    GPU: whole sequences, forward and backward, go through `causal_conv1d` and `selective_scan`,
    steps of cached decoding through `causal_conv1d` and `selective_scan_step`. They also go before
    mamba-ssm and causal-conv1d where those are installed.

    Returns:
        Its undo: call it, or take it as a context manager. While patched, another call changes
        nothing, and neither does its undo.

    Raises:
        ImportError: transformers cannot be imported.
        RuntimeError: its version's mixers are not built as expected; nothing is then changed.
    """
    try:
        version = importlib.import_module("transformers").__version__
    except ImportError as error:
        raise ImportError(
            f"patch_transformers needs transformers: {error}. pip install 'transformers>=5.16'"
        ) from error
    found = []
    for model, mixer in _MIXERS.items():
        try:
            module = importlib.import_module(f"transformers.models.{model}.modeling_{model}")
            if module.mamba_selective_scan is not _transformers_scan:
                _check_mixer(module, mixer)
                found.append(module)
        except (ImportError, AttributeError, TypeError) as error:
            raise RuntimeError(
                f"patch_transformers was tested with transformers {_TESTED}; in {version} {model}"
                f" is built in another way: {error}. Nothing has been changed; install a version"
                " that was tested."
            ) from error

    undo = Undo()
    for module in found:
        for name, ours in _replacements(module).items():
            undo.replace(module, name, ours)
        if hasattr(module, "mamba_inner_fn"):
            undo.replace(module, "mamba_inner_fn", _no_fused_block)
    return undo


class Undo:
    """Takes replacements back: when called, or at the end of a ``with`` block."""

    def __init__(self) -> None:
        self._replaced: list[tuple[ModuleType, str, Any]] = []

    def replace(self, module: ModuleType, name: str, value: Any) -> None:
        self._replaced.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    def __call__(self) -> None:
        while self._replaced:
            setattr(*self._replaced.pop())

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, *_: object) -> None:
        self()


def _replacements(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """What stands for the functions of a model's module."""
    return {
        "mamba_selective_scan": _transformers_scan,
        "mamba_selective_state_update": _transformers_step(module.mamba_selective_state_update),
        "causal_conv1d_fn": _transformers_convolution(module.causal_conv1d_fn),
        "causal_conv1d_update": _transformers_convolution_step(module.causal_conv1d_update),
    }


def _check_mixer(module: ModuleType, mixer: str) -> None:
    """Raises AttributeError or TypeError unless the mixer calls what we replace, as we take it."""
    called = inspect.unwrap(getattr(module, mixer).forward).__code__.co_names
    for name, ours in _replacements(module).items():
        theirs = getattr(module, name)
        # Where the package `kernels` is, it is a module, with the signature on its forward.
        found = _named_parameters(getattr(theirs, "forward", theirs))
        if found != _named_parameters(ours):
            raise TypeError(f"{name} takes {', '.join(found)}")
        if name not in called:
            raise TypeError(f"{mixer} does not call {name}")


def _named_parameters(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]


def _transformers_scan(
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    use_mambapy: bool = False,
    use_associative_scan: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    # The last two choose among transformers' own ways of computing the same.
    return selective_scan_fn(
        hidden_states, dt, A, B, C, D, z, delta_bias, delta_softplus, return_last_state
    )


def _transformers_step(original: Any) -> Callable[..., Tensor]:
    def mamba_selective_state_update(
        state: Tensor,
        hidden_states: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        dt_bias: Tensor | None = None,
        dt_softplus: bool = False,
        z: Tensor | None = None,
    ) -> Tensor:
        inputs = (state, hidden_states, dt, A, B, C, D, dt_bias, z)
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
            # Our step has no gradients; transformers' own has.
            return original(
                state, hidden_states, dt, A, B, C, D, dt_bias=dt_bias, dt_softplus=dt_softplus, z=z
            )
        return ops.selective_scan_step(
            state, hidden_states, dt, A, B, C, D, z, dt_bias, delta_softplus=dt_softplus
        )

    return mamba_selective_state_update


def _transformers_convolution(original: Any) -> Callable[..., Tensor]:
    def causal_conv1d_fn(
        hidden_states: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        activation: str | None = None,
        **kwargs: Any,
    ) -> Tensor:
        # Rows packed from several sequences are the affair of causal-conv1d's own kernel.
        if activation not in _SILU or kwargs.get("seq_idx") is not None:
            return original(hidden_states, weight, bias, activation=activation, **kwargs)
        return ops.causal_conv1d(hidden_states, weight, bias, activation=_SILU[activation])

    return causal_conv1d_fn


def _transformers_convolution_step(original: Any) -> Callable[..., Tensor]:
    def causal_conv1d_update(
        hidden_states: Tensor,
        conv_state: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        activation: str | None = None,
    ) -> Tensor:
        if activation not in _SILU:
            return original(hidden_states, conv_state, weight, bias, activation=activation)
        # Their state is longer than the width - 1 inputs that are looked back at.
        kept = conv_state.shape[2]
        inputs = torch.cat([conv_state, hidden_states], dim=2)
        conv_state.copy_(inputs[:, :, -kept:])
        return ops.causal_conv1d(
            hidden_states,
            weight,
            bias,
            activation=_SILU[activation],
            initial_state=inputs[:, :, kept + 1 - weight.shape[1] : kept],
        )

    return causal_conv1d_update


def _no_fused_block(*_: Any, **__: Any) -> None:
    """mamba-ssm's fused block, in training: None makes the mixer go by the scan instead."""
