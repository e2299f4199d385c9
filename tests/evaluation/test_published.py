"""Published backbones are read from files of the published structure, and from nothing else."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.image import lpips as library
from torchmetrics.image.fid import _compute_fid

from motion_lab.errors import UsageError
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.metrics import build_metrics, measure
from motion_lab.evaluation.metrics.sync import Lse
from motion_lab.evaluation.published import arcface, inception, lpips, syncnet
from motion_lab.foreign_weights import load_script, read_state
from registry import RegistryError


def light(*shape: int, value: float = 0.01) -> torch.Tensor:
    """A tensor of a published shape that takes one number on disk."""
    return torch.full((1,), value).expand(shape)


def batch_norm(name: str, channels: int) -> dict[str, torch.Tensor]:
    values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    return {f"{name}.{key}": light(channels, value=value) for key, value in values.items()}


def clip(frames: int, seed: int = 0, size: int = 32) -> Clip:
    draw = torch.Generator().manual_seed(seed)
    return Clip(torch.randint(0, 256, (frames, 3, size, size), generator=draw, dtype=torch.uint8))


# Inception of FID: name, input channels, output channels, kernel; as in the published file.
STEM = [("1a_3x3", 3, 32, 3), ("2a_3x3", 32, 32, 3), ("2b_3x3", 32, 64, 3)]
STEM += [("3b_1x1", 64, 80, 1), ("4a_3x3", 80, 192, 3)]


def inception_state() -> dict[str, torch.Tensor]:
    convs = [(f"Conv2d_{name}", i, o, (k, k)) for name, i, o, k in STEM]

    def mixed(name: str, *branches: tuple) -> None:
        convs.extend((f"Mixed_{name}.branch{b}", i, o, kernel) for b, i, o, kernel in branches)

    one, three, five, row, column = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)
    for name, i, pooled in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        mixed(name, ("1x1", i, 64, one), ("5x5_1", i, 48, one), ("5x5_2", 48, 64, five))
        mixed(name, ("3x3dbl_1", i, 64, one), ("3x3dbl_2", 64, 96, three))
        mixed(name, ("3x3dbl_3", 96, 96, three), ("_pool", i, pooled, one))
    mixed("6a", ("3x3", 288, 384, three), ("3x3dbl_1", 288, 64, one))
    mixed("6a", ("3x3dbl_2", 64, 96, three), ("3x3dbl_3", 96, 96, three))
    for name, w in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        mixed(name, ("1x1", 768, 192, one), ("7x7_1", 768, w, one), ("7x7_2", w, w, row))
        mixed(name, ("7x7_3", w, 192, column), ("7x7dbl_1", 768, w, one))
        mixed(name, ("7x7dbl_2", w, w, column), ("7x7dbl_3", w, w, row))
        mixed(name, ("7x7dbl_4", w, w, column), ("7x7dbl_5", w, 192, row), ("_pool", 768, 192, one))
    mixed("7a", ("3x3_1", 768, 192, one), ("3x3_2", 192, 320, three), ("7x7x3_1", 768, 192, one))
    mixed("7a", ("7x7x3_2", 192, 192, row), ("7x7x3_3", 192, 192, column))
    mixed("7a", ("7x7x3_4", 192, 192, three))
    for name, i in (("7b", 1280), ("7c", 2048)):
        mixed(name, ("1x1", i, 320, one), ("3x3_1", i, 384, one), ("3x3_2a", 384, 384, (1, 3)))
        mixed(name, ("3x3_2b", 384, 384, (3, 1)), ("3x3dbl_1", i, 448, one))
        mixed(name, ("3x3dbl_2", 448, 384, three), ("3x3dbl_3a", 384, 384, (1, 3)))
        mixed(name, ("3x3dbl_3b", 384, 384, (3, 1)), ("_pool", i, 192, one))
    state = {"fc.weight": light(1008, 2048), "fc.bias": light(1008)}
    for name, i, o, kernel in convs:
        state[f"{name}.conv.weight"] = light(o, i, *kernel, value=1 / (i * kernel[0] * kernel[1]))
        state |= batch_norm(f"{name}.bn", o)
    return state


def syncnet_state() -> dict[str, torch.Tensor]:
    state = {}
    sound = [(0, 1, 64), (4, 64, 192), (8, 192, 384), (11, 384, 256), (14, 256, 256)]
    for place, i, o in sound:
        state |= {f"netcnnaud.{place}.weight": light(o, i, 3, 3)}
        state |= {f"netcnnaud.{place}.bias": light(o), **batch_norm(f"netcnnaud.{place + 1}", o)}
    state |= {"netcnnaud.18.weight": light(512, 256, 5, 4), "netcnnaud.18.bias": light(512)}
    state |= batch_norm("netcnnaud.19", 512)
    picture = [(0, 3, 96, (5, 7, 7)), (4, 96, 256, (1, 5, 5)), (8, 256, 256, (1, 3, 3))]
    picture += [(11, 256, 256, (1, 3, 3)), (14, 256, 256, (1, 3, 3)), (18, 256, 512, (1, 6, 6))]
    for place, i, o, kernel in picture:
        state |= {f"netcnnlip.{place}.weight": light(o, i, *kernel)}
        state |= {f"netcnnlip.{place}.bias": light(o), **batch_norm(f"netcnnlip.{place + 1}", o)}
    for head in ("netfcaud", "netfclip"):
        state |= {f"{head}.0.weight": light(512, 512), f"{head}.0.bias": light(512)}
        state |= {f"{head}.3.weight": light(1024, 512), f"{head}.3.bias": light(1024)}
        state |= batch_norm(f"{head}.1", 512)
    return state


def iresnet_state(depths: tuple[int, ...]) -> dict[str, torch.Tensor]:
    state = {"conv1.weight": light(64, 3, 3, 3), "prelu.weight": light(64)}
    state |= {"fc.weight": light(512, 25088), "fc.bias": light(512)}
    state |= {**batch_norm("bn1", 64), **batch_norm("bn2", 512), **batch_norm("features", 512)}
    inputs = 64
    for layer, (depth, width) in enumerate(zip(depths, (64, 128, 256, 512), strict=True), start=1):
        for block in range(depth):
            name = f"layer{layer}.{block}"
            state |= batch_norm(f"{name}.bn1", inputs)
            state |= {f"{name}.conv1.weight": light(width, inputs, 3, 3)}
            state |= {f"{name}.prelu.weight": light(width)}
            state |= {f"{name}.conv2.weight": light(width, width, 3, 3)}
            state |= {**batch_norm(f"{name}.bn2", width), **batch_norm(f"{name}.bn3", width)}
            if block == 0:
                state |= {f"{name}.downsample.0.weight": light(width, inputs, 1, 1)}
                state |= batch_norm(f"{name}.downsample.1", width)
            inputs = width
    return state


def test_inception_has_the_published_structure(tmp_path):
    file = tmp_path / "inception.pth"
    torch.save(OrderedDict(inception_state()), file)
    network = inception.load(file)
    assert sum(p.numel() for p in network.parameters()) == 23_850_960
    # Weights are means over their inputs: a white picture stays at 1 through 17 convolutions,
    # but for what the zeros around it take away.
    features = network(torch.ones(1, 3, 40, 40))
    assert features.shape == (1, 2048)
    assert 0.5 < features.mean() <= 1
    assert features.std() < 0.3


def test_fid_is_measured_with_the_named_file(tmp_path):
    file = tmp_path / "inception.pth"
    state = inception_state()
    draw = torch.Generator().manual_seed(0)
    state["Conv2d_1a_3x3.conv.weight"] = torch.randn(32, 3, 3, 3, generator=draw)
    torch.save(state, file)
    metrics = build_metrics([{"name": "fid", "weights": str(file)}])
    found = measure(metrics, [(clip(2, 1), clip(2, 2))])
    network = inception.load(file)
    a, b = (network(clip(2, seed).frames / 255).double() for seed in (1, 2))
    # Two frames span a line: the roots' trace is the product of the lines' spreads and cosine.
    lines = [(x[0] - x[1]) / 2**0.5 for x in (a, b)]
    spread = sum(line.square().sum() for line in lines) - 2 * (lines[0] @ lines[1]).abs()
    expected = (a.mean(0) - b.mean(0)).square().sum() + spread
    assert found.values["fid"] == pytest.approx(expected.item(), rel=1e-6)
    assert len(metrics["fid"].protocol()["sha256"]) == 64


def test_other_weights_are_refused_and_what_is_missing_is_named(tmp_path):
    state = inception_state()
    file = tmp_path / "wrong.pth"
    torch.save({**state, "fc.weight": light(1000, 2048), "fc.bias": light(1000)}, file)
    with pytest.raises(UsageError, match=r"fc\.weight \(1000, 2048\) instead of \(1008, 2048\)"):
        inception.load(file)
    torch.save({"state_dict": {k: v for k, v in state.items() if "Mixed_7c" not in k}}, file)
    with pytest.raises(UsageError, match=r"lacks Mixed_7c\.branch1x1\.conv\.weight.* and \d+ more"):
        inception.load(file)
    with pytest.raises(RegistryError, match="'weights' is missing"):
        build_metrics(["fid"])


class Code:
    """What a weights file must not hold."""


@pytest.mark.parametrize("content", [Code(), [1, 2], {}, "text"])
def test_files_that_hold_no_tensors_are_refused(tmp_path, content):
    file = tmp_path / "file.pth"
    torch.save(content, file)
    with pytest.raises(UsageError, match=r"file\.pth"):
        read_state(file, "a network")


def test_damaged_and_missing_files_are_refused(tmp_path):
    file = tmp_path / "file.pth"
    with pytest.raises(UsageError, match="no such file"):
        read_state(file, "a network")
    file.write_bytes(b"\x80\x02 not a pickle")
    with pytest.raises(UsageError, match="cannot be read"):
        read_state(file, "a network")
    for load in (load_script, arcface.load):
        with pytest.raises(UsageError, match=r"file\.pth"):
            load(file, *(["a network"] if load is load_script else []))


def test_syncnet_has_the_published_structure(tmp_path):
    file = tmp_path / "syncnet_v2.model"
    # The published file is older than the present format.
    torch.save(OrderedDict(syncnet_state()), file, _use_new_zipfile_serialization=False)
    network = syncnet.load(file)
    assert network.lips(torch.rand(1, 3, 5, 224, 224)).shape == (1, 1024)
    assert network.voice(torch.rand(2, 1, 13, 20)).shape == (2, 1024)
    metric = Lse(str(file))
    assert metric.protocol()["backbone"] == "SyncNet v2"
    assert metric.protocol()["offsets"] == "-15 to 15 frames"


def test_arcface_depth_is_read_off_the_file(tmp_path):
    file = tmp_path / "backbone.pth"
    state = iresnet_state((1, 2, 1, 1))
    torch.save({f"module.{name}": value for name, value in state.items()}, file)
    network = arcface.load(file)
    assert network(torch.rand(2, 3, 112, 112)).shape == (2, 512)
    del state["layer2.1.conv2.weight"]
    torch.save(state, file)
    with pytest.raises(UsageError, match=r"lacks layer2\.1\.conv2\.weight"):
        arcface.load(file)


class Colour(torch.nn.Module):
    """A face embedding that anyone can check: the mean colour."""

    def forward(self, face: torch.Tensor) -> torch.Tensor:
        return face.mean(dim=(2, 3))


class Means(torch.nn.Module):
    """Called as the I3D of StyleGAN-V is."""

    def forward(
        self,
        video: torch.Tensor,
        rescale: bool = False,
        resize: bool = False,
        return_features: bool = False,
    ) -> torch.Tensor:
        if rescale:
            video = 2 * video / 255 - 1
        return video.mean(dim=(2, 3, 4))


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    for module in (Colour(), Means()):
        torch.jit.script(module).save(folder / f"{type(module).__name__}.pt")
    return folder


def test_csim_is_the_mean_cosine_with_the_portrait(scripts):
    colours = torch.tensor([[255, 0, 0], [255, 255, 0], [0, 0, 255]], dtype=torch.uint8)
    frames = colours[:, :, None, None].expand(-1, -1, 32, 32).contiguous()
    generated, portrait = Clip(frames), Clip(frames[:1].expand(3, -1, -1, -1).contiguous())
    spec = {"name": "csim", "weights": str(scripts / "Colour.pt"), "crop": "whole"}
    found = measure(build_metrics([spec]), [(generated, portrait)])
    units = F.normalize(colours / 127.5 - 1, dim=1)
    assert found.values["csim"] == pytest.approx((units @ units[0]).mean().item(), abs=1e-5)
    assert found.counts["csim"] == {"frames": 3, "dropped frames": 0}


def test_csim_drops_frames_without_a_face(scripts):
    noise = clip(3, size=64)
    metrics = build_metrics([{"name": "csim", "weights": str(scripts / "Colour.pt")}])
    with pytest.raises(UsageError, match="of 3 tries none could be scored"):
        measure(metrics, [(noise, noise)])


def test_fvd_sees_windows_of_sixteen_frames(scripts):
    spec = {"name": "fvd", "weights": str(scripts / "Means.pt")}
    generated, real = clip(50, 1, 8), clip(35, 2, 8)
    found = measure(build_metrics([spec]), [(generated, None), (None, real), (clip(9), None)])
    assert found.counts["fvd"] == {"windows": 3, "reference windows": 2, "dropped clips": 1}
    a, b = (
        (x.frames[: len(x.frames) // 16 * 16].unflatten(0, (-1, 16)) / 127.5 - 1)
        .double()
        .mean((1, 3, 4))
        for x in (generated, real)
    )
    expected = _compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov()).item()
    assert found.values["fvd"] == pytest.approx(expected, rel=1e-4)
    with pytest.raises(UsageError, match="10 frames or more"):
        build_metrics([{**spec, "window": 8}])


LAYERS = {0: (3, 64, 11), 3: (64, 192, 5), 6: (192, 384, 3), 8: (384, 256, 3), 10: (256, 256, 3)}


def alexnet() -> torch.nn.Sequential:
    """The features of torchvision's AlexNet."""
    nn = torch.nn
    layers = {0: nn.Conv2d(3, 64, 11, stride=4, padding=2), 3: nn.Conv2d(64, 192, 5, padding=2)}
    layers |= {at: nn.Conv2d(i, o, k, padding=1) for at, (i, o, k) in LAYERS.items() if at > 5}
    pools = {2: nn.MaxPool2d(3, 2), 5: nn.MaxPool2d(3, 2), 12: nn.MaxPool2d(3, 2)}
    return nn.Sequential(*(layers.get(i) or pools.get(i) or nn.ReLU() for i in range(13)))


def test_lpips_is_that_of_torchmetrics(tmp_path, monkeypatch):
    torch.manual_seed(0)
    features = alexnet()
    # torchmetrics asks torchvision for the network, which a CPU's torch may be without.
    monkeypatch.setattr(library, "_get_tv_model_features", lambda *_: features)
    theirs = library._LPIPS(net="alex", pnet_rand=True)
    file = tmp_path / "alexnet.pth"
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, file)
    a, b = clip(2, 1, 64), clip(2, 2, 64)
    metrics = build_metrics([{"name": "lpips", "weights": str(file)}])
    found = measure(metrics, [(a, b)]).values["lpips"]
    expected = theirs(a.frames / 255, b.frames / 255, normalize=True).mean()
    assert found == pytest.approx(expected.item(), rel=1e-4)
    protocol = metrics["lpips"].protocol()
    assert protocol["backbone"] == "LPIPS 0.1, alex"
    assert len(protocol["heads_sha256"]) == 64


def test_lpips_says_which_file_is_wrong(tmp_path):
    file = tmp_path / "vgg.pth"
    torch.save({"features.0.weight": light(64, 3, 3, 3)}, file)
    with pytest.raises(UsageError, match=r"lacks features\.0\.bias"):
        lpips.load(file, "vgg", lpips.bundled_heads("vgg"))
    with pytest.raises(UsageError, match=r"lacks lin0\.model\.1\.weight"):
        lpips.load(file, "vgg", file)
    with pytest.raises(UsageError, match="alex and vgg, not 'squeeze'"):
        lpips.load(file, "squeeze", file)
