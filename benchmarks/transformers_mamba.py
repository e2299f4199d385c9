"""Mamba models of Hugging Face transformers: two layers over 1,024 tokens, random weights.

Ours is the model under `patch_transformers`; the peer, and the reference that checks it, are the
same model without.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import peers
from benchmarks.harness.case import FORWARD, Case, Contender, Inputs, Op, Work, random_tensors
from motion_lab.compat import patch_transformers


def _case(name: str, model: str, hidden_size: int, *, quick: bool = False) -> Case:
    def make(device: torch.device) -> Inputs:
        import transformers

        transformers.logging.set_verbosity_error()  # it says that kernels of others are missing
        torch.manual_seed(0)
        config = getattr(transformers, f"{model}Config")(
            hidden_size=hidden_size, num_hidden_layers=2, vocab_size=1000
        )
        built = getattr(transformers, f"{model}Model")(config).eval().to(device)
        return {"model": built, "inputs_embeds": random_tensors(device)(1, 1024, hidden_size)}

    return Case(
        name,
        make,
        model_work,
        passes=(FORWARD,),
        reference_dtype=torch.float32,
        quick=quick,
    )


def _states(inputs: Inputs) -> Tensor:
    with torch.no_grad():
        return inputs["model"](
            inputs_embeds=inputs["inputs_embeds"], use_cache=False
        ).last_hidden_state


def _patched(inputs: Inputs) -> Callable[[], Tensor]:
    def call() -> Tensor:
        with patch_transformers():
            return _states(inputs)

    return call


def model_work(inputs: Inputs, passes: str) -> Work:
    """The products as torch's flop counter counts them; convolution and scan are not in it."""
    counter = FlopCounterMode(display=False)
    with counter:
        _patched(inputs)()
    return Work(flops=counter.get_total_flops())


def _missing() -> str | None:
    return peers.import_problem("transformers")


OPS = (
    Op(
        "transformers_mamba",
        (
            _case("mamba-h256", "Mamba", 256, quick=True),
            _case("mamba-h768", "Mamba", 768),
            _case("mamba-h1024", "Mamba", 1024),
            _case("falcon-h768", "FalconMamba", 768),
        ),
        Contender("ours", _patched),
        _states,
        (Contender("transformers", lambda inputs: lambda: _states(inputs)),),
        _missing,
    ),
)
