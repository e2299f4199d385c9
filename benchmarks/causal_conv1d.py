"""Cases of the causal convolution of a Mamba block, with bias and SiLU.

The signals lie as the block's projection leaves them: channels side by side, the gate's between one
step's and the next one's. One case has them along time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness.case import (
    BOTH,
    FORWARD,
    Case,
    Contender,
    Inputs,
    Op,
    Output,
    Work,
    native,
    random_tensors,
    size_in_memory,
)
from motion_lab.ops import causal_conv1d

_WIDTH = 4


def _case(
    name: str, size: tuple[int, int, int], quick: bool = False, along_time: bool = False
) -> Case:
    batch, dim, length = size

    def make(device: torch.device) -> Inputs:
        random = random_tensors(device)
        if along_time:
            x = random(batch, dim, length)
        else:
            x = random(batch, length, 2 * dim).transpose(1, 2)[:, :dim]
        return {"x": x, "weight": random(dim, _WIDTH), "bias": random(dim), "activation": "silu"}

    return Case(name, make, conv_work, quick)


def conv_work(inputs: Inputs, passes: str) -> Work:
    """Forward: reads x, writes y; an element takes 2 flops a tap, and SiLU 3 flops and 1 exp.

    Backward: reads x and dy, writes dx; for each element it finds y's slope again (2 flops a tap, 7
    and 1 exp) and adds to dx and to the weight's gradient (4 flops a tap) and the bias's (1).
    """
    signal, elements = size_in_memory(inputs["x"]), inputs["x"].numel()
    width = inputs["weight"].shape[1]
    forward = Work(2 * signal, elements * (2 * width + 3), elements)
    if passes == FORWARD:
        return forward
    assert passes == BOTH
    return Work(5 * signal, elements * (8 * width + 11), 2 * elements)


def _torch(inputs: Inputs) -> Callable[[], Output]:
    return lambda: causal_conv1d(**inputs, backend="torch")


def _causal_conv1d(inputs: Inputs) -> Callable[[], Tensor]:
    from causal_conv1d import causal_conv1d_fn

    return lambda: causal_conv1d_fn(**inputs)


OPS = (
    Op(
        "causal_conv1d",
        (
            _case("b1-d1536-l2048", (1, 1536, 2048)),
            _case("b8-d512-l250", (8, 512, 250), quick=True),
            _case("b8-d512-l250-along-time", (8, 512, 250), along_time=True),
            _case("small-mamba-g", (1, 192, 250), quick=True),
            _case("small-mamba-l", (250, 64, 5), quick=True),
        ),
        native("causal_conv1d", causal_conv1d),
        lambda inputs: causal_conv1d(**inputs, backend="reference"),
        (
            Contender("torch", _torch),
            Contender("causal_conv1d", _causal_conv1d, peers.gpu_package("causal_conv1d")),
        ),
    ),
)
