"""Whom we are compared with, where they can be had, and why not where they cannot."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable

from benchmarks.harness.case import BOTH, Setting

INSTALL = {
    "mambapy": "pip install --no-deps mambapy",
    "mamba_ssm": "CONTRIBUTING.md says how, under Benchmarks",
    "causal_conv1d": "pip install --no-build-isolation causal-conv1d, with an nvcc",
    "transformers": "pip install transformers",
    "xformers": "pip install xformers, of the version made for this torch",
}


@functools.cache
def import_problem(module: str) -> str | None:
    """Why a package cannot be imported here, or None."""
    package = module.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        return f"not installed: {INSTALL[package]}"
    try:
        importlib.import_module(module)
    except Exception as error:  # a package with a broken binary may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"installed, but {module} does not import: {reason}"
    return None


def package(module: str) -> Callable[[Setting], str | None]:
    """For a peer that only has to be importable."""
    return lambda setting: import_problem(module)


def gpu_package(module: str) -> Callable[[Setting], str | None]:
    """For a peer whose kernels are for a GPU alone."""

    def missing(setting: Setting) -> str | None:
        if setting.device.type != "cuda":
            return "its kernels run on a GPU only"
        return import_problem(module)

    return missing


def flex_missing(setting: Setting) -> str | None:
    """Why FlexAttention, compiled, is not measured in a setting."""
    if setting.device.type == "cpu" and setting.passes == BOTH:
        return "FlexAttention has no backward on a CPU"
    return None
