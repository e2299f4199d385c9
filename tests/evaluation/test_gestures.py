"""BAS, DIV, FGD and AKD: known beats, sums by hand, and points that can be seen."""

import math

import numpy as np
import pytest
import torch

from motion_lab.errors import UsageError
from motion_lab.evaluation.clips import Clip
from motion_lab.evaluation.metrics import build_metrics, measure
from motion_lab.evaluation.metrics.beats import beat_alignment, motion_beats, sound_beats
from motion_lab.evaluation.metrics.gestures import diversity, l1_diversity, normalised
from motion_lab.evaluation.metrics.landmarks import peaks


def test_alignment_by_hand():
    sound, motion = np.array([10.0, 20.0, 40.0]), np.array([13.0, 40.0])
    bells = [math.exp(-9 / 18), math.exp(-49 / 18), 1.0]
    assert beat_alignment(sound, motion) == pytest.approx(sum(bells) / 3)
    assert beat_alignment(sound, np.zeros(0)) == 0
    assert math.isnan(beat_alignment(np.zeros(0), motion))


def test_motion_beats_are_where_it_pauses():
    # A pendulum of a period of 50 frames stands still twice a period.
    place = np.cos(2 * np.pi * np.arange(151) / 50)
    speed = np.abs(np.diff(place))
    beats = motion_beats(speed)
    assert np.abs(beats - [25, 50, 75, 100, 125]).max() <= 0.5


def test_sound_beats_are_where_it_begins():
    begins = [0.5, 0.9, 1.4]
    time = np.arange(2 * 16_000) / 16_000
    wave = sum(
        np.where(time > begin, np.exp(-(time - begin) / 0.05), 0) * np.sin(2 * np.pi * 300 * time)
        for begin in begins
    )
    found = sound_beats(wave.astype(np.float32))
    assert np.abs(found - 25 * np.array(begins)).max() < 0.6
    assert len(sound_beats(np.zeros(16_000, np.float32))) == 0


def test_diversity_by_hand():
    rows = torch.tensor([[0.0, 0.0], [1.0, 3.0], [0.0, 2.0]])
    assert diversity(rows) == pytest.approx((4 + 2 + 2) / 3)
    poses = torch.tensor([[0.0, 0.0], [2.0, 6.0], [float("nan"), float("nan")]])
    first, second, third = l1_diversity(poses).tolist()
    assert (first, second) == (4, 4)
    assert math.isnan(third)


def test_many_pairs_are_drawn_alike_every_time():
    rows = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    every = torch.cdist(rows, rows, p=1).triu(1).sum() / (60 * 59 / 2)
    assert diversity(rows) == diversity(rows)
    assert diversity(rows) == pytest.approx(every.item(), rel=0.1)


def test_where_the_face_is_and_how_large_makes_no_difference_to_poses():
    places = torch.rand(10, 5, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(normalised(places), normalised(0.3 * places + 0.2))


def test_peaks_lie_a_quarter_of_a_cell_towards_the_higher_neighbour():
    heat = torch.zeros(1, 2, 8, 8)
    heat[0, 0, 3, 5], heat[0, 0, 3, 6], heat[0, 0, 2, 5] = 2.0, 1.0, 1.0
    heat[0, 1, 0, 7] = 1.0
    places = peaks(heat)[0]
    torch.testing.assert_close(places[0] * 8, torch.tensor([5.75, 3.25]))
    torch.testing.assert_close(places[1] * 8, torch.tensor([7.5, 0.5]))


class Spots(torch.nn.Module):
    """Stands in for a face-alignment network: a point is the brightest spot of a colour."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(x, 4)


class Last(torch.nn.Module):
    """Stands in for a motion encoder: the pose at the end of a window."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return windows[:, -1]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    torch.jit.script(Spots()).save(folder / "spots.pt")
    torch.jit.script(Last()).save(folder / "last.pt")
    return {"spots": str(folder / "spots.pt"), "last": str(folder / "last.pt")}


def moving(where: torch.Tensor, wave: torch.Tensor | None = None) -> Clip:
    """Spots of 4 pixels, one a colour, at (F, 3, 2), x and y in cells of a 64-cell frame."""
    frames = torch.zeros(len(where), 3, 256, 256, dtype=torch.uint8)
    for frame, row in enumerate(where.tolist()):
        for colour, (x, y) in enumerate(row):
            frames[frame, colour, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = 255
    return Clip(frames, wave)


def path(frames: int, seed: int) -> torch.Tensor:
    return torch.randint(8, 56, (frames, 3, 2), generator=torch.Generator().manual_seed(seed))


def test_akd_is_the_mean_error_of_coordinates_in_pixels_of_256(files):
    here = path(6, 0)
    there = here.clone()
    there[:, 0, 0] += 3  # one of six numbers, by 3 of 64 cells
    spec = {"name": "akd", "weights": files["spots"], "crop": "whole"}
    scores = measure(build_metrics([spec]), [(moving(there), moving(here))])
    assert scores.values["akd"] == pytest.approx(256 * 3 / 64 / 6, rel=1e-4)
    assert scores.counts["akd"] == {"frames": 6, "dropped frames": 0}


def test_frames_without_a_face_are_dropped_and_counted(files):
    clip = moving(path(6, 0))
    spec = {"name": "akd", "weights": files["spots"]}
    with pytest.raises(UsageError, match="akd could not be measured: of 6 tries none"):
        measure(build_metrics([spec]), [(clip, clip)])


def test_fgd_and_div_of_named_networks(files):
    names = {"landmarks": files["spots"], "encoder": files["last"], "crop": "whole"}
    metrics = build_metrics([{"name": name, **names} for name in ("fgd", "div")])
    same, other = moving(path(80, 1)), moving(path(80, 2))
    frozen = moving(path(1, 3).expand(80, -1, -1))
    scores = {
        name: measure(
            build_metrics([{"name": each, **names} for each in metrics]), [(clip, same)]
        ).values
        for name, clip in (("same", same), ("other", other), ("frozen", frozen))
    }
    assert scores["same"]["fgd"] == pytest.approx(0, abs=1e-6)
    assert scores["other"]["fgd"] > 0.1
    assert scores["frozen"]["div"] == 0
    assert scores["frozen"]["l1div"] == pytest.approx(0, abs=1e-5)
    assert scores["same"]["l1div"] > 1
    assert metrics["fgd"].protocol()["points"]["crop"] == "whole frames at 256"


def test_bas_meets_beats_of_moving_points(files):
    # Spots swing with a period of 40 frames: they rest at 20, 40, … A click sounds at each rest.
    swing = (32 + 20 * torch.cos(2 * torch.pi * torch.arange(121) / 40)).round().long()
    where = torch.stack([swing, torch.full_like(swing, 30)], -1)[:, None].expand(-1, 3, -1)
    spec = {"name": "bas", "weights": files["spots"], "crop": "whole"}

    def score(late: int) -> float:
        wave = torch.zeros(121 * 640)
        for rest in range(20, 120, 20):
            wave[(rest + late) * 640 :][:800] = torch.hann_window(1600)[800:]
        return measure(build_metrics([spec]), [(moving(where, wave), None)]).values["bas"]

    assert score(0) > 0.9
    assert score(10) < 0.1
