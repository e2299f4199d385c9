"""What all tests have: their shares of the work, a last word on what could not run here, and a
data set that tests of several folders read."""

import csv
import signal
from collections import Counter

import pytest


def pytest_configure():
    """Ctrl-C reaches the tests and what they start, also where a shell runs them in the
    background: there they inherit that it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Workers of xdist take whole files, which share what is dear to make, or groups in them."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # so that it comes last
def pytest_terminal_summary(terminalreporter):
    yield
    skipped = Counter(
        (mark, report.longrepr[2].removeprefix("Skipped: "))
        for report in terminalreporter.stats.get("skipped", [])
        for mark in ("cuda", "simt")
        if mark in getattr(report, "keywords", ())  # a module that skips itself has none
    )
    for (mark, reason), count in skipped.items():
        terminalreporter.write_line(f"{count} {mark} cases skipped: {reason}", yellow=True)


@pytest.fixture(scope="session")
def pats_folder(tmp_path_factory):
    """Three intervals of two speakers in the layout of PATS: noise, and a right hand that beats."""
    h5py = pytest.importorskip("h5py")
    import numpy as np

    from motion_lab.data.audio import save_wav

    root = tmp_path_factory.mktemp("pats")
    rows = [("train", "bee", "100"), ("train", "noah", "200"), ("dev", "bee", "300")]
    with (root / "cmu_intervals_df.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("dataset", "speaker", "interval_id", "delta_time"), *(
            (*row, "2.0") for row in rows
        )])  # fmt: skip
    for index, (_, speaker, name) in enumerate(rows):
        poses = np.zeros((30, 2, 52))
        # neck at the origin; 200 pixels from shoulder to shoulder, forearms up in the picture
        for arm, side in (((1, 2, 3), -1), ((4, 5, 6), 1)):
            for joint, x, y in zip(arm, (100, 120, 90), (0, 190, 60), strict=True):
                poses[:, 0, joint], poses[:, 1, joint] = side * x, y
        poses[:, 1, 3] += 40 * np.sin(np.arange(30))
        (root / "processed" / speaker).mkdir(parents=True, exist_ok=True)
        with h5py.File(root / "processed" / speaker / f"{name}.h5", "w") as file:
            file["pose/data"] = poses.reshape(30, 104)
        folder = root / "raw" / f"{speaker}_cropped"
        folder.mkdir(parents=True, exist_ok=True)
        noise = 0.2 * np.random.default_rng(index).standard_normal(32000)
        save_wav(folder / f"{name}.mp3", noise.clip(-1, 1))  # FFmpeg looks inside, not at the name
    with h5py.File(root / "missing_intervals.h5", "w") as file:
        file["intervals"] = np.array(["999"], dtype=object)
    return root
