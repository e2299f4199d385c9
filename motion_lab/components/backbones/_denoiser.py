"""What all denoisers have: tokens of motion, and conditions that reach every block alike."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Denoiser(nn.Module):
    """From motion and conditions to tokens, and from tokens to clean motion.

    The tokens are the `previous` past frames, then those of the window. t and the source
    (B, source_size) reach the blocks by adaptive layer norm (Peebles & Xie, arXiv 2212.09748),
    whose projection the blocks share, each adding an offset of its own (Chen et al.,
    arXiv 2310.00426). A subclass runs blocks between `embed` and `read`.

    Args:
        branches: residual branches of a block, each with shift, scale and gate.
    """

    def __init__(self, motion_size: int, source_size: int, width: int, branches: int) -> None:
        super().__init__()
        self.width = width
        self.embed_motion = nn.Linear(motion_size, width)
        self.embed_past = nn.Linear(motion_size, width)
        self.embed_time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.embed_source = nn.Linear(source_size, width)
        self.modulate = nn.Linear(width, 3 * branches * width)
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, motion_size)
        # Small, so that the first prediction is near the mean and the blocks near their offsets.
        nn.init.normal_(self.modulate.weight, std=0.02)
        nn.init.zeros_(self.modulate.bias)
        nn.init.normal_(self.predict.weight, std=0.02)

    def embed(
        self, noisy: Tensor, t: Tensor, audio: Tensor, source: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The arguments of a backbone's call → tokens (B, previous + W, width), their audio
        (B, previous + W, context), zero in the past, and modulation (B, 1, 3 · branches, width).
        """
        x = torch.cat([self.embed_past(past), self.embed_motion(noisy)], dim=1)
        condition = self.embed_time(time_features(t, self.width)) + self.embed_source(source)
        modulation = self.modulate(F.silu(condition)).unflatten(1, (1, -1, self.width))
        return x, F.pad(audio, (0, 0, past.shape[1], 0)), modulation

    def read(self, x: Tensor, window: int) -> Tensor:
        """Tokens (B, previous + window, width) → clean motion (B, window, M)."""
        return self.predict(self.norm(x[:, -window:]))


class DenoiserBlock(nn.Module):
    """A block's share of the conditions; a subclass adds the `branches` and runs them."""

    def __init__(self, width: int, context: int, branches: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(3 * branches, width))
        with torch.no_grad():
            self.offset[2::3] = 0.5  # the gates: open from the start
        self.listen = nn.Linear(context, width)

    def steer(self, modulation: Tensor) -> tuple[Tensor, ...]:
        """The denoiser's modulation → that of each branch, (B, 1, 3, width)."""
        return (modulation + self.offset).split(3, dim=2)


def branch(x: Tensor, modulation: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The residual branch x + gate · change(norm(x) · (1 + scale) + shift), (B, L, width)."""
    shift, scale, gate = modulation.unbind(2)
    return x + gate * change(F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift)


def time_features(t: Tensor, width: int) -> Tensor:
    """Sines and cosines of t (B,), wavelengths 2π..2π·10⁴: (B, width) (arXiv 1706.03762, 3.5)."""
    half = width // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angles = t.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
