"""What each extractor can see, and that its block is Mamba."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from motion_lab.components.extractors.gru import GRUExtractor
from motion_lab.components.extractors.mamba_g import MambaG
from motion_lab.components.extractors.mamba_l import MambaL
from motion_lab.components.extractors.none import NoAudio
from motion_lab.components.extractors.tcn import TCNExtractor
from motion_lab.components.extractors.transformer import TransformerExtractor
from motion_lab.components.mamba import MambaMixer


def influence(module: nn.Module, length: int, at: int) -> list[int]:
    """Frames of the input that output frame `at` depends on."""
    features = torch.randn(1, length, 24, dtype=torch.float64, requires_grad=True)
    module.double()(features)[0, at].square().sum().backward()
    assert features.grad is not None
    return features.grad[0].abs().sum(1).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("kind", [MambaG, TransformerExtractor, GRUExtractor])
def test_global_extractors_see_the_whole_track(kind: type[nn.Module]) -> None:
    assert kind.window is None
    assert influence(kind(24, width=16, layers=1), 21, 9) == list(range(21))


@pytest.mark.parametrize(("layers", "window"), [(1, 1), (2, 3), (3, 7)])
def test_the_tcn_sees_its_window_and_no_more(layers: int, window: int) -> None:
    extractor = TCNExtractor(24, width=16, layers=layers).eval()
    assert extractor.window == window
    assert influence(extractor, 21, 9) == list(range(9 - window, 10 + window))


def test_the_transformer_knows_the_order_of_the_frames() -> None:
    extractor, features = TransformerExtractor(24, width=16).eval(), torch.randn(1, 12, 24)
    turned = features.flip(1)
    assert not torch.allclose(extractor(turned).flip(1), extractor(features), atol=1e-3)


def test_without_audio_every_frame_hears_the_same_whatever_is_said() -> None:
    extractor = NoAudio(24, width=16)
    nn.init.normal_(extractor.constant)
    context = extractor(torch.randn(2, 12, 24))
    assert context.shape == (2, 12, 16)
    assert (context == extractor.constant).all()
    context.sum().backward()
    assert (extractor.constant.grad == 24).all()


@pytest.mark.parametrize("window", [1, 3])
def test_mamba_l_sees_its_window_and_no_more(window: int) -> None:
    extractor = MambaL(24, width=16, window=window, state=4)
    assert extractor.window == window
    assert influence(extractor, 21, 9) == list(range(9 - window, 10 + window))


def test_mamba_l_gives_the_same_from_a_stream_that_looks_ahead_by_its_window() -> None:
    extractor = MambaL(24, width=16, window=3, state=4)
    features = torch.randn(1, 30, 24)
    whole = extractor(features)
    for frame in (5, 17):
        piece = extractor(features[:, frame - 3 : frame + 4])
        torch.testing.assert_close(piece[:, 3], whole[:, frame])


def test_mamba_l_is_a_whole_mixer_over_each_window() -> None:
    extractor = MambaL(24, width=16, window=3, state=4, expand=2)
    features = torch.randn(2, 8, 24)
    x = extractor.embed(features)
    padded = F.pad(x, (0, 0, 3, 3))
    for i in range(8):
        before, after = padded[:, i : i + 4], padded[:, i + 3 : i + 7]
        near = extractor.forth(before)[:, -1] + extractor.back(after)[:, 0]
        torch.testing.assert_close(extractor(features)[:, i], extractor.norm(x[:, i] + near))


@pytest.mark.parametrize("extractor", [MambaG, MambaL])
def test_items_of_a_batch_do_not_mix(extractor: type[nn.Module]) -> None:
    module, features = extractor(24, width=16, state=4), torch.randn(3, 12, 24)
    together = module(features)
    assert together.shape == (3, 12, module.context)
    for item in range(3):
        torch.testing.assert_close(module(features[item : item + 1])[0], together[item])


@pytest.mark.parametrize("reverse", [False, True])
def test_the_mixer_is_the_recurrence_of_the_paper(reverse: bool) -> None:
    """Against the block written out frame by frame, in the order in which it runs."""
    torch.manual_seed(0)
    mixer = MambaMixer(16, state=4, expand=2, kernel=3, reverse=reverse).double()
    x = torch.randn(1, 9, 16, dtype=torch.float64)
    rank, state, _ = mixer.sizes
    order = range(8, -1, -1) if reverse else range(9)
    recent = [torch.zeros(32, dtype=torch.float64)] * 3
    hidden = torch.zeros(32, state, dtype=torch.float64)
    for t in order:
        u, gate = mixer.project_in(x[0, t]).chunk(2)
        recent = [*recent[1:], u]
        weight = mixer.conv.weight[:, 0]
        u = F.silu(sum(weight[:, tap] * recent[tap] for tap in range(3)) + mixer.conv.bias)
        low, b, c = mixer.select(u).split([rank, state, state])
        step = F.softplus(mixer.step(low) + mixer.step_bias)[:, None]
        hidden = torch.exp(-step * mixer.log_decay.exp()) * hidden + step * b * u[:, None]
        y = (hidden @ c + mixer.skip * u) * F.silu(gate)
        torch.testing.assert_close(mixer(x)[0, t], mixer.project_out(y))


@pytest.mark.parametrize("reverse", [False, True])
def test_between_the_mixers_projections_no_signal_is_moved(reverse: bool) -> None:
    mixer, x = MambaMixer(16, reverse=reverse), torch.randn(2, 9, 16)
    with torch.no_grad(), torch.profiler.profile() as profile:
        mixer(x)
    ran = {event.name for event in profile.events()}
    assert "motion_lab::selective_scan_forward" in ran
    assert not ran & {"aten::copy_", "aten::cat", "aten::flip", "aten::constant_pad_nd"}
