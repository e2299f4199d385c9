"""The critic of adversarial training: patches of true frames against patches of made ones."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from motion_lab.training.losses import weighted_like

# The gradient penalty costs a second derivative: it is taken in every sixteenth step, times
# sixteen (Karras et al., "Analyzing and improving the image quality of StyleGAN", 2020).
_PENALTY_EVERY = 16
# Half of γ, for the gradient of one verdict, which sees 38² pixels.
_PENALTY = 0.05


class PatchCritic(nn.Module):
    """One patch classifier at each of two scales, without normalisation.

    Isola, Zhu, Zhou and Efros, "Image-to-image translation with conditional adversarial networks",
    2017; several scales as in Wang et al., "High-resolution image synthesis and semantic
    manipulation with conditional GANs", 2018. A verdict sees 38 pixels across.
    """

    def __init__(self, width: int = 32, scales: int = 2) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_classifier(width) for _ in range(scales))

    def forward(self, image: Tensor) -> list[list[Tensor]]:
        """Image (B, 3, S, S) in [0, 1] → for each scale the features of every layer, last of
        them the verdicts (B, 1, S/8, S/8): above zero for true."""
        seen = []
        for index, layers in enumerate(self.scales):
            x = F.avg_pool2d(image, 2**index) * 2 - 1
            maps = []
            for layer in layers:  # type: ignore[attr-defined]
                x = layer(x)
                maps.append(x)
            seen.append(maps)
        return seen


def _classifier(width: int) -> nn.ModuleList:
    widths = (3, width, 2 * width, 4 * width)
    layers: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.2))
        for a, b in itertools.pairwise(widths)
    ]
    return nn.ModuleList([*layers, nn.Conv2d(widths[-1], 1, 3, 1, 1)])


def adversarial_losses(
    critic: PatchCritic, made: Tensor, true: Tensor, weight: Tensor, step: int
) -> dict[str, Tensor]:
    """Hinge losses of both sides, to be minimised together in one backward pass.

    The sides do not reach into each other: the made image meets a critic with constant weights,
    the critic a constant image.

    Args:
        made, true: (B, 3, S, S) in [0, 1].
        weight: (B, 1, H, W), how much patches count for the one who makes.

    Returns:
        ``adversarial`` and ``features`` (distance between the critic's features of both images) for
        the one who makes; ``critic`` with R1, the squared gradient of a verdict on a true image
        (Mescheder, Geiger and Nowozin, 2018), for the critic.
    """
    constant = {name: value.detach() for name, value in critic.named_parameters()}
    judged = functional_call(critic, constant, (made,))
    penalised = step % _PENALTY_EVERY == 0
    true = true.detach().requires_grad_(penalised)
    on_true, on_made = critic(true), critic(made.detach())
    adversarial = features = doubt = made.new_zeros(())
    for fooled, real, fake in zip(judged, on_true, on_made, strict=True):
        verdict = fooled[-1]
        adversarial = adversarial - (verdict * weighted_like(weight, verdict)).mean()
        for a, b in zip(fooled[:-1], real[:-1], strict=True):
            features = features + (a - b.detach()).abs().mean()
        doubt = doubt + F.relu(1 - real[-1]).mean() + F.relu(1 + fake[-1]).mean()
    if penalised:
        verdicts = [maps[-1] for maps in on_true]
        total = sum((verdict.sum() for verdict in verdicts), made.new_zeros(()))
        (slope,) = torch.autograd.grad(total, true, create_graph=True)
        count = sum(verdict.numel() for verdict in verdicts)
        doubt = doubt + _PENALTY_EVERY * _PENALTY * slope.square().sum() / count
    return {"adversarial": adversarial, "features": features, "critic": doubt}
