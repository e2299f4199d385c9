"""Videos of any system: paired by name or not, scored, told what is wrong with them."""

import json

import numpy as np
import pytest
import torch

from motion_lab import cli
from motion_lab.data.video import VideoWriter
from motion_lab.errors import UsageError
from motion_lab.evaluation.metrics import metric_specs
from motion_lab.evaluation.results import Result, comparable
from motion_lab.evaluation.videos import Videos, evaluate_videos, find_videos

METRICS = ["psnr", "l1", "tgd"]


def write(path, frames=8, size=(64, 64), level=100, wave=None, fps=25):
    """A grey video whose upper half is lighter from frame to frame."""
    path.parent.mkdir(exist_ok=True)
    with VideoWriter(path, size, fps=fps, audio=wave) as video:
        for index in range(frames):
            frame = np.full((*size, 3), level, np.uint8)
            frame[: size[0] // 2] += np.uint8(4 * index)
            video.write(frame)
    return path


def tone(frames):
    samples = 0.3 * np.sin(2 * np.pi * 300 * np.arange(640 * frames) / 16_000)
    return samples.astype(np.float32)


@pytest.fixture
def folders(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / "real" / f"{name}.mp4")
    write(tmp_path / "made" / "one.mp4", level=110)
    write(tmp_path / "made" / "two.mp4", level=120)
    return tmp_path


def test_pairs_are_matched_by_name(folders):
    result = evaluate_videos(Videos(folders / "made", folders / "real", size=32), METRICS)
    assert result.scores["l1"] == pytest.approx(15 / 255, abs=0.004)
    assert result.scores["tgd"] == pytest.approx(0, abs=0.004)
    assert result.better == {"psnr": "higher", "l1": "lower", "tgd": "lower"}
    videos = result.protocol["videos"]
    assert (videos["paired"], videos["generated"], videos["size"]) == (True, 2, 32)
    assert result.made["counts"]["l1"] == {"frames": 16}


def test_two_files_are_a_pair_whatever_their_names(folders):
    paths = folders / "made" / "one.mp4", folders / "real" / "two.mp4"
    result = evaluate_videos(Videos(*paths, size=32), ["l1"])
    assert result.scores["l1"] == pytest.approx(10 / 255, abs=0.004)


def test_every_video_comes_at_25_frames_a_second_and_at_the_size_asked_for(folders):
    write(folders / "fast" / "one.mp4", frames=16, size=(128, 128), fps=50)
    result = evaluate_videos(Videos(folders / "fast", folders / "real", size=48), ["l1"])
    assert result.made["counts"]["l1"] == {"frames": 8}
    assert result.made["cut_frames"] == 0
    assert result.made["unmatched"] == ["two"]


def test_the_longer_of_a_pair_is_cut_and_the_frames_counted(folders):
    write(folders / "made" / "two.mp4", frames=11, wave=tone(11))
    result = evaluate_videos(Videos(folders / "made", folders / "real", size=32), ["l1"])
    assert result.made["counts"]["l1"] == {"frames": 16}
    assert result.made["cut_frames"] == 3


def test_bad_files_among_others_are_dropped_and_named(folders):
    write(folders / "made" / "wide.mp4", size=(64, 96))
    write(folders / "real" / "wide.mp4")
    for name in ("broken", "empty"):
        write(folders / "real" / f"{name}.mp4")
    (folders / "made" / "broken.mp4").write_bytes(b"no video at all")
    (folders / "made" / "empty.mp4").touch()
    whole = evaluate_videos(Videos(folders / "made", folders / "real", size=32), ["l1"])
    assert whole.made["counts"]["l1"] == {"frames": 16}
    reasons = whole.made["dropped"]
    assert set(reasons) == {"wide", "broken", "empty"}
    assert "96x64 and its reference 64x64" in reasons["wide"]
    assert "not video that can be read" in reasons["broken"]
    assert "0 bytes" in reasons["empty"]


def test_a_single_bad_file_is_the_error(folders):
    bad = folders / "bad.mp4"
    bad.write_bytes(b"no video at all")
    with pytest.raises(UsageError, match=r"bad\.mp4 is not video"):
        evaluate_videos(Videos(bad, folders / "real" / "one.mp4"), ["l1"])


def test_when_all_are_bad_the_first_reason_is_told(folders):
    for name in ("one", "two"):
        (folders / "made" / f"{name}.mp4").write_bytes(b"?")
    with pytest.raises(UsageError, match=r"none of 2 videos could be used. The first, one: .*read"):
        evaluate_videos(Videos(folders / "made", folders / "real"), ["l1"])


def test_without_names_in_common_sets_are_proposed(folders):
    write(folders / "other" / "three.mp4")
    with pytest.raises(UsageError, match=r"no names in common .* --unpaired"):
        evaluate_videos(Videos(folders / "other", folders / "real"), ["l1"])


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "no such file or folder"), ("bare", "holds no videos"), ("twins", "each may be")],
)
def test_folders_that_cannot_be_used(folders, name, message):
    (folders / "bare").mkdir()
    write(folders / "twins" / "a.mp4")
    (folders / "twins" / "a.mov").write_bytes((folders / "twins" / "a.mp4").read_bytes())
    with pytest.raises(UsageError, match=message):
        find_videos(folders / name)


def test_metrics_get_what_they_need_or_say_what_lacks(folders):
    made, real = folders / "made", folders / "real"
    with pytest.raises(UsageError, match="l1 needs pairs of videos"):
        evaluate_videos(Videos(made, real, paired=False), ["l1"])
    with pytest.raises(UsageError, match=r"fgd\[lab\] needs reference videos"):
        evaluate_videos(Videos(made, None), ["fgd[lab]"])
    with pytest.raises(UsageError, match=r"2 of 2 generated videos have no sound track"):
        evaluate_videos(Videos(made, real, size=32), ["bas[lab]"])


def test_what_cannot_be_scored_does_not_take_the_other_scores_with_it(folders):
    result = evaluate_videos(Videos(folders / "made", folders / "real", size=32))
    assert set(METRICS) < set(result.scores)
    assert "windows of 32 frames" in result.made["failed"]["div[lab]"]
    assert "lse[lab]" not in result.protocol["metrics"], "there is no sound"


def test_faces_are_framed_alike_in_both_of_a_pair(tmp_path):
    from skimage.data import astronaut

    picture = astronaut()[:440, :440]
    for name, size in (("made", 220), ("real", 440)):
        (tmp_path / name).mkdir()
        with VideoWriter(tmp_path / name / "a.mp4", size) as video:
            for _ in range(2):
                video.write(np.ascontiguousarray(picture[:: 440 // size, :: 440 // size]))
    videos = Videos(tmp_path / "made", tmp_path / "real", size=128, crop="face")
    assert evaluate_videos(videos, ["psnr"]).scores["psnr"] > 24
    write(tmp_path / "real" / "b.mp4")
    write(tmp_path / "made" / "b.mp4")
    assert (
        "No face was found in the first frame of"
        in (evaluate_videos(videos, ["psnr"]).made["dropped"]["b"])
    )


def test_settings_reach_their_metric():
    specs = metric_specs(["psnr, fid", "lse[lab]"], ["fid.weights=a=b.pth", "lse[lab].gain=2"])
    assert specs == [
        {"name": "psnr"},
        {"name": "fid", "weights": "a=b.pth"},
        {"name": "lse[lab]", "gain": 2},
    ]
    assert metric_specs(None, []) is None
    with pytest.raises(UsageError, match="'fvd' is not among --metrics"):
        metric_specs(["fid"], ["fvd.weights=x"])
    with pytest.raises(UsageError, match=r"write METRIC\.KEY=VALUE"):
        metric_specs(["fid"], ["weights=x"])


@pytest.fixture
def motion_lab(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main(["evaluate", *map(str, arguments)])
        out, err = capsys.readouterr()
        return stop.value.code, out, " ".join(err.split())

    return run


def test_the_command_writes_scores_protocol_and_table(folders, motion_lab):
    outputs = folders / "a.json", folders / "a.md"
    code, out, err = motion_lab(
        *("videos", folders / "made", folders / "real", "--metrics", "psnr,akd[lab],l1"),
        *("--size", 32, "--json", outputs[0], "--markdown", outputs[1]),
    )
    assert code == 0, err
    assert "l1 ↓" in out
    result = json.loads(outputs[0].read_text())
    assert set(result["protocol"]["metrics"]) == {"psnr", "akd[lab]", "l1"}
    assert len(result["protocol"]["metrics"]["akd[lab]"]["sha256"]) == 64
    lines = outputs[1].read_text().splitlines()
    assert lines[:2] == ["| score | value |", "| --- | ---: |"]
    assert lines[2].startswith("| psnr ↑ | ")


def test_results_of_one_protocol_stand_side_by_side(folders, motion_lab):
    real = folders / "real"
    motion_lab("videos", folders / "made", real, "--size", 32, "--metrics", "psnr,l1",
               "--json", folders / "made.json")  # fmt: skip
    motion_lab("videos", real, real, "--size", 32, "--metrics", "l1", "--json", folders / "r.json")
    code, _, _ = motion_lab(
        "compare", folders / "made.json", folders / "r.json", "--markdown", folders / "t.md"
    )
    assert code == 0
    lines = (folders / "t.md").read_text().splitlines()
    assert lines[0] == "| score | made | r |"
    assert lines[2].endswith("| – |"), "one result alone has this score"
    assert lines[3].endswith("| **0** |"), "the better one is marked"


def test_other_protocols_are_refused_by_name(folders, motion_lab):
    paths = folders / "made", folders / "real"
    for name, size in (("a", 32), ("b", 48)):
        output = folders / f"{name}.json"
        motion_lab("videos", *paths, "--size", size, "--metrics", "l1", "--json", output)
    code, _, err = motion_lab("compare", folders / "a.json", folders / "b.json")
    assert code == 2
    assert "videos.size is 32 in a and 48 in b" in err


def test_other_references_are_another_protocol(folders, motion_lab):
    paths = folders / "made", folders / "real"
    common = "--size", "32", "--metrics", "l1", "--json"
    motion_lab("videos", *paths, *common, folders / "a.json")
    write(folders / "real" / "two.mp4", level=90)
    motion_lab("videos", *paths, *common, folders / "b.json")
    code, _, err = motion_lab("compare", folders / "a.json", folders / "b.json")
    assert code == 2
    assert "videos.references_sha256 is" in err


def test_every_two_results_must_agree_in_the_metrics_that_they_share():
    def result(**metrics):
        return Result("videos", {}, {"metrics": metrics})

    a, b, c = result(x={"net": 1}), result(x={"net": 1}, y={"net": 1}), result(y={"net": 2})
    comparable({"a": a, "b": b})
    with pytest.raises(UsageError, match=r"metrics\.y\.net is 1 in b and 2 in c"):
        comparable({"a": a, "b": b, "c": c})


def test_results_of_other_evaluations_and_other_files_are_refused(folders, motion_lab):
    Result("base", {"psnr": 20.0}, {}).write(folders / "base.json")
    Result("videos", {"psnr": 20.0}, {}).write(folders / "videos.json")
    code, _, err = motion_lab("compare", folders / "base.json", folders / "videos.json")
    assert code == 2
    assert "they measure different things" in err
    (folders / "list.json").write_text("[1]")
    for name, message in (("list.json", "is no result of"), ("none.json", "no such file")):
        code, _, err = motion_lab("compare", folders / "base.json", folders / name)
        assert code == 2
        assert message in err


def test_a_result_survives_its_file(tmp_path):
    scores = {"psnr": 1.5, "probe": {"yaw": 0.5}}
    before = Result("base", scores, {"size": 64}, {"device": "cpu"}, {"psnr": "higher"})
    before.write(tmp_path / "a.json")
    after = Result.read(tmp_path / "a.json")
    assert after.scores == before.scores
    assert after.protocol == before.protocol
    assert after.better == before.better
    assert after.made["torch"] == torch.__version__
