"""What is drawn again around mouth and eyes, and where."""

import pytest
import torch

from motion_lab.components.details.windows import EYE, MOUTH, DetailWindows

PLACES = torch.tensor([[[0.1, 0.5], [-0.4, -0.3], [0.5, -0.35]]])


@pytest.fixture
def details():
    torch.manual_seed(0)
    details = DetailWindows(motion_size=12, width=4).eval()
    with torch.no_grad():
        for painter in (details.mouth, details.eye):
            painter.hidden.weight.mul_(30)  # paints much
    return details


def pixels(half, place, size, grow=0.0):
    """Which pixels have their centre in a window, as a mask (size, size)."""
    centres = (torch.arange(size) + 0.5) / size * 2 - 1
    x, y = ((centres - p).abs() <= h + grow for p, h in zip(place, half, strict=True))
    return y[:, None] & x[None, :]


def test_all_windows_and_nothing_else_changes(details):
    image, warped = torch.rand(2, 1, 3, 100, 100)
    changed = (details(image, warped, PLACES, torch.randn(1, 12)) != image).any(1)[0]
    inside = torch.zeros(100, 100, dtype=torch.bool)
    for place, half in zip(PLACES[0], (MOUTH, EYE, EYE), strict=True):
        inside |= pixels(half, place, 100, grow=0.02)
        within = changed[pixels(half, place, 100, grow=-0.05)]
        assert within.float().mean() > 0.95
    assert not changed[~inside].any()


def test_a_change_fades_towards_the_border_of_its_window(details):
    image = torch.rand(1, 3, 200, 200)
    change = details(image, image, PLACES, torch.randn(1, 12)) - image
    for place, half in zip(PLACES[0], (MOUTH, EYE, EYE), strict=True):
        window = pixels(half, place, 200)
        rim = window & ~pixels(half, place, 200, grow=-0.012)
        assert change[0, :, rim].abs().max() < 0.1 * change[0, :, window].abs().max()


def test_the_right_eye_is_the_left_one_mirrored(details):
    with torch.no_grad():
        details.right.weight.copy_(details.left.weight)
    places = torch.tensor([[[0.0, 0.6], [-0.4, -0.3], [0.4, -0.3]]])
    half = torch.rand(1, 3, 96, 48)
    image = torch.cat([half, half.flip(3)], 3)
    upper = details(image, 0.5 * image, places, torch.randn(1, 12))[:, :, :60]
    assert (upper - image[:, :, :60]).abs().max() > 5e-3
    torch.testing.assert_close(upper, upper.flip(3), rtol=0, atol=1e-5)


class Black(torch.nn.Module):
    """Takes everything away that the window shows."""

    def forward(self, patch, warped, motion):
        return -patch


def test_at_256_pixels_a_window_shows_pixels_not_mixtures_of_them():
    details = DetailWindows(motion_size=12)
    details.mouth = details.eye = Black()
    places = torch.tensor([[0.013, 0.507], [-0.421, -0.308], [0.503, -0.356]])
    image = torch.rand(1, 3, 256, 256)
    black = (details(image, image, places[None], torch.randn(1, 12)).abs() < 1e-4).all(1)
    assert black.sum() == 72 * 72 + 2 * 48 * 40


def test_it_learns_to_shut_an_eye():
    """Where the left lid is down in the motion, the left window shows skin, and nothing else."""
    torch.manual_seed(0)
    details = DetailWindows(motion_size=2, width=4, mouth_size=(16, 16), eye_size=(24, 24))
    optimizer = torch.optim.Adam(details.parameters(), lr=5e-3)
    pupils = pixels((0.05, 0.05), PLACES[0, 1], 64) | pixels((0.05, 0.05), PLACES[0, 2], 64)
    for _ in range(150):
        skin = torch.rand(4, 3, 1, 1) * 0.4 + 0.4
        shut = torch.randint(2, (4, 1)).float()
        image = torch.where(pupils, 0.0, skin).contiguous()
        left = pixels((0.05, 0.05), PLACES[0, 1], 64) & (shut == 1)[..., None, None]
        target = torch.where(left, skin, image)
        motion = torch.cat([shut, 1 - shut], 1)  # the second number is of something else
        made = details(image, image, PLACES.expand(4, -1, -1), motion)
        loss = (made - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    shown = (image != target).any(1, keepdim=True).expand_as(image)
    assert (made - target)[shown].abs().mean() < 0.3 * (image - target)[shown].abs().mean()
    assert (made - target)[~shown].abs().mean() < 0.02
