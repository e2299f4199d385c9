"""The critic: its two sides do not reach into each other, and it learns to tell."""

import pytest
import torch
from torch.func import functional_call

from motion_lab.training.critic import PatchCritic, adversarial_losses


@pytest.fixture
def critic() -> PatchCritic:
    torch.manual_seed(0)
    return PatchCritic(width=4)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    true = torch.rand(2, 3, 64, 64, generator=generator)
    return torch.rand(2, 3, 64, 64, generator=generator).requires_grad_(True), true


WEIGHT = torch.ones(2, 1, 64, 64)


def test_the_makers_losses_leave_the_critic_alone(critic, images):
    made, true = images
    found = adversarial_losses(critic, made, true, WEIGHT, step=1)
    (found["adversarial"] + found["features"]).backward()
    assert made.grad.abs().sum() > 0
    assert all(p.grad is None for p in critic.parameters())


def test_the_critics_loss_leaves_the_maker_alone(critic, images):
    made, true = images
    adversarial_losses(critic, made, true, WEIGHT, step=0)["critic"].backward()
    assert made.grad is None
    assert all(p.grad is not None for p in critic.parameters())


def test_the_hinge_and_the_penalty_are_those_of_the_formulas(critic, images):
    made, true = images
    expected = sum(
        (1 - t[-1]).relu().mean() + (1 + m[-1]).relu().mean()
        for t, m in zip(critic(true), critic(made), strict=True)
    )
    plain = adversarial_losses(critic, made, true, WEIGHT, step=1)["critic"]
    torch.testing.assert_close(plain, expected)

    penalised = adversarial_losses(critic, made, true, WEIGHT, step=16)["critic"]

    def verdict(image):
        return sum(maps[-1].sum() for maps in critic(image))

    slope = torch.func.grad(verdict)(true)
    verdicts = 2 * (8 * 8 + 4 * 4)
    torch.testing.assert_close(penalised - plain, 16 * 0.05 * slope.square().sum() / verdicts)


def test_a_patch_that_weighs_nothing_does_not_move_the_maker(critic, images):
    made, true = images
    weight = torch.zeros(2, 1, 64, 64)
    weight[..., :8] = 1
    adversarial_losses(critic, made, true, weight, step=1)["adversarial"].backward()
    assert made.grad[..., :8].abs().sum() > 0
    assert made.grad[..., 48:].abs().sum() == 0


def test_it_learns_to_tell_smooth_from_rough(critic):
    generator = torch.Generator().manual_seed(2)
    optimizer = torch.optim.Adam(critic.parameters(), 2e-3)
    for step in range(60):
        rough = torch.rand(4, 3, 32, 32, generator=generator)
        smooth = torch.nn.functional.avg_pool2d(rough, 5, 1, 2)
        loss = adversarial_losses(critic, smooth, rough, WEIGHT[:1].expand(4, -1, -1, -1), step)
        optimizer.zero_grad()
        loss["critic"].backward()
        optimizer.step()
    constant = {name: p.detach() for name, p in critic.named_parameters()}
    for on_rough, on_smooth in zip(
        functional_call(critic, constant, (rough,)),
        functional_call(critic, constant, (smooth,)),
        strict=True,
    ):
        assert on_rough[-1].mean() > on_smooth[-1].mean() + 0.5
