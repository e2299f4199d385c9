"""LSE-D and LSE-C: constructed offsets, and SyncNet's own way of cutting windows."""

import math

import pytest
import torch

from motion_lab.errors import UsageError
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.metrics import measure
from motion_lab.evaluation.metrics.sync import Lse, sync_scores
from motion_lab.evaluation.published import syncnet


def codes(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("offset", [-15, -3, 0, 7])
def test_a_constructed_offset_is_found(offset):
    code = codes(120)
    lips, voice = code[20:100], code[20 - offset : 100 - offset]
    found = sync_scores(lips, voice, beyond=float("nan"))
    assert found.offset == offset
    assert found.distance == pytest.approx(0, abs=1e-5)
    assert found.confidence > 2


def test_distance_and_confidence_by_hand():
    # Lips always at 0, the voice at 3 but for one frame at 5: at shift s, that frame is seen if
    # it lies within the 40 windows, else zeros beyond the track are.
    lips, voice = torch.zeros(40, 1), torch.full((40, 1), 3.0)
    voice[0] = 5.0
    found = sync_scores(lips, voice)
    # A shift of s frames sees |s| zeros beyond the track; those of the beginning also see the 5.
    means = [(3 * (40 - s) + 2) / 40 for s in range(16)] + [3 * (40 - s) / 40 for s in range(1, 16)]
    assert found.distance == pytest.approx(min(means))
    assert found.confidence == pytest.approx(sorted(means)[15] - min(means))
    assert found.offset == 15


def test_what_lies_beyond_the_track_can_be_left_out():
    lips, voice = torch.zeros(40, 1), torch.full((40, 1), 3.0)
    found = sync_scores(lips, voice, beyond=float("nan"))
    assert found.distance == pytest.approx(3)
    assert found.confidence == pytest.approx(0)


def test_the_sound_is_that_of_python_speech_features():
    time = torch.arange(4000) / 16_000
    wave = 0.5 * torch.sin(2 * math.pi * 440 * time) + 0.1 * torch.sin(2 * math.pi * 3000 * time)
    found = syncnet.mfcc(wave)
    assert found.shape == (13, 1 + math.ceil((4000 - 400) / 160))
    # Printed by python_speech_features 0.6: mfcc(samples, 16000)[5] of the same wave, as int16.
    expected = [21.4587, 7.2529, -4.9735, 20.3106, -41.6337, -46.5277, 5.7325, -31.1226]
    expected += [-17.6447, 40.2423, 8.506, 5.1675, 33.4135]
    torch.testing.assert_close(found[:, 5], torch.tensor(expected), rtol=1e-4, atol=1e-3)


class Loudness(torch.nn.Module):
    """Lips are as bright as the voice is loud."""

    def lips(self, frames):
        assert frames.shape[1:] == (3, 5, 224, 224)
        return frames.mean((1, 2, 3, 4))[:, None] / 40

    def voice(self, mfcc):
        assert mfcc.shape[1:] == (1, 13, 20)
        return mfcc[:, 0, 0].mean(1)[:, None] / 2


def talking(frames: int, late: int = 0) -> Clip:
    """Brightness and, `late` frames later, the logarithm of the loudness follow one code."""
    code = torch.rand(frames + late, generator=torch.Generator().manual_seed(1))
    bright = (100 + 40 * code[late:]).byte()[:, None, None, None].expand(-1, 3, 32, 32)
    loud = code[:frames].exp().repeat_interleave(640)
    noise = torch.randn(len(loud), generator=torch.Generator().manual_seed(2))
    return Clip(bright.contiguous(), 0.05 * loud * noise)


@pytest.fixture
def lse(monkeypatch, tmp_path):
    monkeypatch.setattr(syncnet, "load", lambda path: Loudness())
    (tmp_path / "syncnet").touch()
    return Lse(str(tmp_path / "syncnet"), crop="whole")


@pytest.mark.parametrize("late", [0, 4])
def test_windows_of_frames_and_of_sound_begin_together(lse, late):
    lips, voice = lse.embed(talking(80, late))
    assert len(lips) == len(voice) == 80 - 5
    lips, voice = lips - lips.mean(), voice - voice.mean()
    assert sync_scores(lips, voice, beyond=float("nan")).offset == late


def test_silent_and_short_clips_are_dropped_and_counted(lse):
    clip = talking(50)
    silent = Clip(clip.frames, torch.zeros_like(clip.wave))
    scores = measure({"lse": lse}, [(clip, None), (silent, None), (talking(30), None)])
    assert set(scores.values) == {"lse_d", "lse_c", "lse_offset"}
    assert scores.counts["lse"] == {
        "clips": 1,
        "dropped, silent": 1,
        "dropped, too short or without a face": 1,
    }


def test_a_clip_without_sound_is_refused(lse):
    with pytest.raises(UsageError, match="lse needs sound"):
        measure({"lse": lse}, [(Clip(talking(50).frames), None)])


def test_all_silent_is_an_error(lse):
    clip = talking(50)
    with pytest.raises(UsageError, match="of 1 clips 1 are silent"):
        measure({"lse": lse}, [(Clip(clip.frames, torch.zeros_like(clip.wave)), None)])
