"""VGG-19 from a file, against its published structure written out by hand."""

import pytest
import torch
import torch.nn.functional as F

from motion_lab.components.perceptual.vgg import VGG19
from motion_lab.errors import UsageError

# torchvision's names and shapes: number of the layer, inputs, outputs.
LAYERS = (
    (0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256),
    (14, 256, 256), (16, 256, 256), (19, 256, 512), (21, 512, 512), (23, 512, 512),
    (25, 512, 512), (28, 512, 512), (30, 512, 512),
)  # fmt: skip


def write_vgg19(path, layers=LAYERS):
    generator = torch.Generator().manual_seed(0)
    state = {"classifier.0.weight": torch.zeros(1)}
    for number, inputs, outputs in layers:
        weight = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / inputs / 9) ** 0.5
        state[f"features.{number}.weight"] = weight
        state[f"features.{number}.bias"] = torch.randn(outputs, generator=generator) / 10
    torch.save(state, path)
    return state


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    return path, write_vgg19(path)


def test_maps_are_the_first_of_each_block(file):
    path, state = file
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    x = (image - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    expected = []
    for number, *_ in LAYERS[:-1]:
        if number in (5, 10, 19, 28):  # after a pooling
            x = F.max_pool2d(x, 2)
        x = F.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], 1, 1)
        x = x.relu()
        if number in (0, 5, 10, 19, 28):
            expected.append(x)
    maps = VGG19(str(path))(image)
    assert [tuple(each.shape[1:]) for each in maps] == [
        (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2),
    ]  # fmt: skip
    for a, b in zip(maps, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_image_alone(file):
    network = VGG19(str(file[0]))
    image = torch.rand(1, 3, 32, 32).requires_grad_(True)
    sum(each.square().mean() for each in network(image)).backward()
    assert image.grad.abs().sum() > 0
    assert all(p.grad is None for p in network.parameters())


def test_another_file_is_refused_with_what_it_lacks(tmp_path):
    write_vgg19(tmp_path / "short.pth", LAYERS[:4])
    with pytest.raises(UsageError, match=r"lacks features\.10\.weight"):
        VGG19(str(tmp_path / "short.pth"))
    with pytest.raises(UsageError, match="no such file"):
        VGG19(str(tmp_path / "none.pth"))
