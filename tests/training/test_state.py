"""The moving average and the state file."""

import torch

from motion_lab.training.state import Ema, Progress, load_state, save_state


def test_average_follows_its_formula_and_swaps_back_exactly():
    module = torch.nn.Linear(2, 2)
    ema = Ema(module, decay=0.5)
    first = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(1)
    ema.update(module, step=0)  # decay 1/10
    expected = 0.1 * first + 0.9 * (first + 1)
    torch.testing.assert_close(ema.module.weight.data, expected)
    ema.update(module, step=1000)  # decay 1/2
    torch.testing.assert_close(ema.module.weight.data, 0.5 * expected + 0.5 * (first + 1))
    mine, average = module.weight.clone(), ema.module.weight.clone()
    ema.swap(module)
    assert torch.equal(module.weight, average)
    ema.swap(module)
    assert torch.equal(module.weight, mine)


def test_average_takes_buffers_as_they_are():
    module = torch.nn.BatchNorm1d(2)
    ema = Ema(module, decay=0.9)
    module(torch.randn(4, 2))
    ema.update(module, step=0)
    assert torch.equal(ema.module.running_mean, module.running_mean)
    assert int(ema.module.num_batches_tracked) == 1


def test_state_round_trip_is_exact(tmp_path):
    module = torch.nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.randn(2, 3)).sum().backward()
    optimizer.step()
    progress = Progress(step=3, sums={"loss": 0.1 + 0.2}, seconds=1.5)
    save_state(tmp_path, {"model": module}, optimizer, progress)
    other = torch.nn.Linear(3, 3)
    fresh = torch.optim.AdamW(other.parameters())
    assert load_state(tmp_path, {"model": other}, fresh) == progress
    assert torch.equal(other.weight, module.weight)
    for index, slots in optimizer.state_dict()["state"].items():
        for name, value in slots.items():
            assert torch.equal(fresh.state_dict()["state"][index][name], value)
