"""Motion of sound that is still arriving, against a naive account of what may be known when."""

import itertools

import pytest
import torch

from motion_lab.components.extractors.mamba_g import MambaG
from motion_lab.components.frontends.log_mel import LogMel
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.errors import UsageError
from motion_lab.models.motion_model import MotionModel
from motion_lab.models.motion_stream import MotionStream

M = 6


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def sound(frames, seed=0):
    """Noise whose loudness wanders, (1, 640 · frames)."""
    loud = torch.rand(1, frames, 1, generator=seeded(seed + 1)).square()
    return (0.3 * loud * torch.randn(1, frames, 640, generator=seeded(seed))).flatten(1)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    lab = MotionModel(
        motion_size=M,
        frontend={"name": "log_mel", "mels": 10, "margin": 2},
        extractors=[
            {"name": "mamba_g", "width": 12, "layers": 2, "state": 4},
            {"name": "mamba_l", "width": 10, "window": 3, "state": 4},
            {"name": "tcn", "width": 8, "layers": 2},
            {"name": "none", "width": 4},
        ],
        backbone={"name": "transformer", "width": 16, "layers": 2, "heads": 2},
        window=20,
        steps=3,
    )
    lab.fit_normalisation(torch.randn(300, M) + 1, torch.randn(20, M))
    lab.fit_readout(torch.randn(300, M), torch.randn(300, len(MOTION)))
    return lab.eval()


def streamed(model, wave, cuts, **settings):
    """Motion of the wave handed over in pieces that end at the given samples."""
    stream = MotionStream(model, torch.full((1, M), 0.3), generator=seeded(7), **settings)
    pieces = [stream.hear(wave[:, a:b]) for a, b in itertools.pairwise([0, *cuts, wave.shape[1]])]
    return torch.cat([*pieces, stream.finish()], 1)


@pytest.mark.parametrize(("hop", "look_ahead"), [(10, 5), (1, 3), (7, 0)])
def test_motion_does_not_depend_on_how_the_sound_arrives(model, hop, look_ahead):
    wave = sound(43)[:, :-123]
    settings = {"hop": hop, "look_ahead": look_ahead}
    whole = streamed(model, wave, [], **settings)
    assert whole.shape == (1, 43, M)
    for cuts in ([1, 2, 9000], list(range(0, 27000, 640)), [wave.shape[1] - 1]):
        torch.testing.assert_close(streamed(model, wave, cuts, **settings), whole, rtol=0, atol=0)


def test_a_stream_that_looks_ahead_to_the_end_is_the_whole_track(model):
    """With everything heard in advance nothing is left to differ from `generate`."""
    wave, source = sound(20), torch.full((1, M), 0.3)
    made = model.generate(wave, source, generator=seeded(7))
    torch.testing.assert_close(streamed(model, wave, [], hop=20, look_ahead=0), made)


@pytest.mark.parametrize("look_ahead", [0, 4])
def test_sound_beyond_the_look_ahead_is_not_heard(model, look_ahead):
    hop = 5
    wave = sound(40)
    other = torch.cat([wave[:, : 640 * 20], sound(20, seed=9)], 1)
    settings = {"hop": hop, "look_ahead": look_ahead}
    one, two = (streamed(model, each, [], **settings) for each in (wave, other))
    settled = (20 - look_ahead) // hop * hop - 1  # of which the frame after them is known, too
    assert torch.equal(one[:, :settled], two[:, :settled])
    assert not torch.equal(one[:, settled], two[:, settled])
    after = slice(settled + 1, settled + 1 + hop)
    assert not torch.allclose(one[:, after], two[:, after])


@pytest.mark.parametrize(("hop", "look_ahead"), [(6, 3), (1, 2), (4, 9)])
def test_mamba_g_remembers_what_a_naive_stream_would_read_again(hop, look_ahead):
    """Every layer over all its settled inputs from the first one on, and those looked ahead to."""
    torch.manual_seed(1)
    extractor = MambaG(features=9, width=12, layers=2, state=4).double()
    features = torch.randn(2, 40, 9, generator=seeded(), dtype=torch.float64)
    inputs = [torch.zeros(2, 0, 12, dtype=torch.float64) for _ in extractor.blocks]
    states = None
    for start in range(0, 40 - hop - look_ahead + 1, hop):
        piece = features[:, start : start + hop + look_ahead]
        context, states = extractor.advance(piece, hop, states)
        x = extractor.embed(piece)
        for layer, block in enumerate(extractor.blocks):
            known = torch.cat([inputs[layer], block.norm(x)], 1)
            inputs[layer] = known[:, : start + hop]
            x = x + block.forth(known)[:, start:] + block.back(known[:, start:])
        torch.testing.assert_close(context, extractor.norm(x))


def test_log_mel_of_a_stream_is_that_of_the_track_but_for_the_level():
    """Where the loudest came first the level stays as it was, and both must agree."""
    frontend = LogMel(mels=12, margin=2)
    wave = sound(30)
    wave[:, : 640 * 4] = 0.9 * torch.sign(wave[:, : 640 * 4])
    wave[:, 640 * 4 :] *= 1e-3
    whole, state = frontend(wave), None
    for start in range(0, 24, 4):
        piece, state = frontend.advance(wave[:, 640 * start : 640 * (start + 6)], 4, state)
        torch.testing.assert_close(piece[:, :4], whole[:, start : start + 4], atol=1e-3, rtol=0)
    level = wave[:, : 640 * 24].unflatten(1, (24, 640)).square().mean(2)
    torch.testing.assert_close(state.power, level[:, :24].sum(1))


def test_what_cannot_stream_is_named(model):
    deaf = MotionModel(
        motion_size=M,
        extractors=[{"name": "transformer", "width": 8, "heads": 2}],
        backbone={"name": "transformer", "width": 16, "layers": 1, "heads": 2},
        window=8,
    )
    with pytest.raises(UsageError, match="TransformerExtractor cannot stream"):
        MotionStream(deaf, torch.zeros(1, M))
    for wrong in ({"hop": 0}, {"look_ahead": -1}):
        with pytest.raises(ValueError, match="hop must be at least 1"):
            MotionStream(model, torch.zeros(1, M), **wrong)
    with pytest.raises(ValueError, match="source_motion"):
        MotionStream(model, torch.zeros(2, M))
    assert MotionStream(model, torch.zeros(1, M)).finish().shape == (1, 0, M)
