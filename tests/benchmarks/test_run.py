"""python -m benchmarks run: right results get a time, all others a reason."""

import json
import sys

import pytest
import torch

from benchmarks.harness import results

RUN = ("run", "--quick", "--output", "out.jsonl")


def rows(path, **wanted):
    found = results.read(path).rows
    return [row for row in found if all(getattr(row, k) == v for k, v in wanted.items())]


def test_a_right_result_has_its_time_and_its_share_of_the_tightest_limit(lab, tmp_path):
    status, said = lab.command(*RUN, op=lab.toy(), clock=lab.Clock(0.010))
    assert status == 0
    row, _ = rows(tmp_path / "out.jsonl")
    assert (row.status, row.seconds, row.samples) == ("measured", 0.010, 25)
    assert (row.limit, row.share) == ("matrix", pytest.approx(0.4))
    assert "10 ms" in said
    assert "40% of matrix" in said
    assert "0.2 GB/s" in said
    assert "4 GFLOP/s" in said


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x**2 + 0.01,
        lambda x: x**2 * float("nan"),
        lambda x: (x**2)[:5],
        lambda x: (x**2).to(torch.bfloat16),
    ],
    ids=["off", "not a number", "wrong shape", "too coarse"],
)
def test_a_case_made_wrong_on_purpose_shows_wrong_and_never_a_time(lab, tmp_path, wrong):
    clock = lab.Clock(0.010)
    status, said = lab.command(*RUN, op=lab.toy(wrong), clock=clock)
    assert status == 1
    assert clock.count == 0
    assert "WRONG: output is" in said
    assert "ms" not in said.split("cpu)\n", 1)[1]
    for row in rows(tmp_path / "out.jsonl"):
        assert (row.status, row.seconds, row.samples, row.share) == ("wrong", None, 0, None)


def test_a_wrong_gradient_is_found_where_gradients_are_measured(lab, tmp_path):
    status, said = lab.command(*RUN, op=lab.toy(lambda x: x.detach() * x), clock=lab.Clock(0.01))
    assert status == 1
    forward, both = rows(tmp_path / "out.jsonl")
    assert (forward.status, both.status) == ("measured", "wrong")
    assert "gradient of x is off by 5.0e-01" in said


def test_peers_are_checked_too_and_ours_is_compared_with_those_that_are_right(lab, tmp_path):
    def fails(x):
        raise RuntimeError("no kernel for six numbers\nand more")

    op = lab.toy(
        torch.square,
        lab.contender("twice", torch.square),
        lab.contender("cube", lambda x: x**3),
        lab.contender("broken", fails),
        lab.contender("elsewhere", torch.square, missing=lambda setting: "not installed"),
        passes=("forward",),
    )
    # Ours takes 10 ms and the peer 25, in turns.
    status, said = lab.command(*RUN, op=op, clock=lab.Clock(0.010, 0.025))
    assert status == 0
    _, twice, cube, broken, elsewhere = rows(tmp_path / "out.jsonl")
    assert twice.ours_faster == pytest.approx(2.5)
    assert "ours is 2.5× faster" in said
    assert (cube.status, cube.seconds, cube.ours_faster) == ("wrong", None, None)
    assert (broken.status, broken.note) == ("failed", "RuntimeError: no kernel for six numbers")
    assert (elsewhere.status, elsewhere.note) == ("absent", "not installed")


def test_a_contender_that_fails_while_it_is_timed_does_not_stop_the_others(lab, tmp_path):
    calls = []

    def fails_later(x):
        calls.append(x)
        if len(calls) > 3:
            raise MemoryError("full")
        return x**2

    op = lab.toy(torch.square, lab.contender("greedy", fails_later), passes=("forward",))
    lab.command(*RUN, op=op, clock=lab.Clock(0.01))
    ours, greedy = rows(tmp_path / "out.jsonl")
    assert ours.samples == 25
    assert (greedy.status, greedy.seconds) == ("failed", None)


def test_ours_without_its_module_is_a_row_with_the_reason(lab, tmp_path):
    op = lab.toy()
    object.__setattr__(op.ours, "missing", lambda setting: "the module has not been built")
    status, said = lab.command(*RUN, op=op, clock=lab.Clock(0.01))
    assert status == 0
    assert "the module has not been built" in said
    assert {row.status for row in rows(tmp_path / "out.jsonl")} == {"absent"}


def test_an_op_that_lacks_what_it_needs_is_a_row_for_everybody(lab, tmp_path):
    op = lab.toy(torch.square, lab.contender("twice", torch.square), passes=("forward",))
    object.__setattr__(op, "missing", lambda: "needs the whole package")
    status, said = lab.command(*RUN, op=op)
    assert status == 0
    assert [(row.who, row.status) for row in rows(tmp_path / "out.jsonl")] == [
        ("ours", "absent"),
        ("twice", "absent"),
    ]
    assert said.count("needs the whole package") == 2


def test_lines_fit_into_120_columns_however_long_a_reason_is(lab):
    def fails(x):
        raise RuntimeError("a long story " * 30)

    peers = [
        lab.contender("talkative", fails),
        lab.contender("quiet", torch.square, note=lambda device: "a remark " * 20),
    ]
    _, said = lab.command(*RUN, op=lab.toy(torch.square, *peers), clock=lab.Clock(123.4, 0.00123))
    assert max(map(len, said.splitlines())) <= 120
    assert "remark" in said


def test_only_what_is_asked_for_is_measured(lab, tmp_path):
    op = lab.toy(
        torch.square, lab.contender("one", torch.square), lab.contender("two", torch.square)
    )
    command = ("run", "--quick", "--output", "out.jsonl")
    lab.command(*command, "--peers", "two", op=op, clock=lab.Clock(0.01))
    assert {row.who for row in rows(tmp_path / "out.jsonl")} == {"ours", "two"}
    lab.command(*command, "--peers", "none", op=op, clock=lab.Clock(0.01))
    assert {(row.case, row.who) for row in rows(tmp_path / "out.jsonl")} == {("six", "ours")}
    lab.command(*command, "--case", "slow", op=op, clock=lab.Clock(0.01))
    assert {row.case for row in rows(tmp_path / "out.jsonl")} == {"slow"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("run", "toys"), "Did you mean toy?"),
        (("run", "--case", "sex"), "Did you mean six?"),
        (("run", "--peers", "somebody"), "There are: none"),
        (("run", "--output", "out.json"), ".jsonl"),
        (("run", "--device", "cuda"), "no CUDA device"),
        (("profile", "toy", "--device", "cuda", "-o", "out"), "no CUDA device"),
        (("compare", "no.jsonl", "none.jsonl"), "no.jsonl"),
        (("plot", "no.jsonl", "-o", "out.png"), "no.jsonl"),
        (("profile", "toys", "-o", "out"), "Did you mean toy?"),
        (("profile", "toy", "--case", "sex", "-o", "out"), "Did you mean six?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_unknown_name_is_answered_in_one_line_with_exit_status_2(
    lab, monkeypatch, arguments, named
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, said = lab.command(*arguments, op=lab.toy())
    assert status == 2
    assert len(said.splitlines()) == 1
    assert named in said


def test_an_interrupted_run_keeps_what_it_had_and_touches_no_finished_file(lab, tmp_path):
    (tmp_path / "out.jsonl").write_text("of yesterday")
    stopping = lab.Clock(0.01)
    sample = stopping.sample

    def stop_in_the_second_pass(call):
        if stopping.count == 25:
            raise KeyboardInterrupt
        return sample(call)

    stopping.sample = stop_in_the_second_pass
    status, said = lab.command(*RUN, op=lab.toy(), clock=stopping)
    assert status == 130
    assert "out.jsonl.partial" in said
    (row,) = rows(tmp_path / "out.jsonl.partial")
    assert (row.passes, row.status) == ("forward", "measured")
    assert (tmp_path / "out.jsonl").read_text() == "of yesterday"


def test_a_finished_run_leaves_the_file_and_the_picture_alone(lab, tmp_path):
    lab.command(*RUN, op=lab.toy(), clock=lab.Clock(0.01))
    assert {path.name for path in tmp_path.iterdir()} == {"out.jsonl", "out.png"}
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_run_succeeds_and_says_what_to_install(lab, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, said = lab.command(*RUN, op=lab.toy(), clock=lab.Clock(0.01))
    assert status == 0
    assert "pip install 'motion-lab[eval]'" in said
    assert (tmp_path / "out.jsonl").is_file()
    assert not (tmp_path / "out.png").exists()
    status, _ = lab.command("plot", "out.jsonl", "-o", "out.png")
    assert status == 1


def test_the_file_says_what_it_was_measured_on_but_not_where(lab, tmp_path):
    lab.command(*RUN, "--note", "shared", op=lab.toy(), clock=lab.Clock(0.01))
    run = results.read(tmp_path / "out.jsonl").run
    assert run.torch == torch.__version__
    assert run.threads == torch.get_num_threads()
    assert run.note == "shared"
    assert run.limits["cpu"]["copy"] == {"rate": 1e9, "how": "told"}
    import platform

    assert platform.node() not in (tmp_path / "out.jsonl").read_text()


def test_every_line_of_the_file_follows_the_schema(lab, tmp_path):
    op = lab.toy(torch.square, lab.contender("cube", lambda x: x**3 / 0))
    lab.command(*RUN, op=op, clock=lab.Clock(0.01))
    head, *others = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(head)["record"] == "run"
    assert json.loads(head)["schema"] == results.SCHEMA
    assert {json.loads(line)["record"] for line in others} == {"row"}
    assert "NaN" not in head + "".join(others)


def test_list_names_the_cases_and_measures_nothing(lab, tmp_path):
    status, said = lab.command("run", "--list", op=lab.toy())
    assert status == 0
    assert [line.split()[:2] for line in said.splitlines()] == [["toy", "six"], ["toy", "slow"]]
    assert not list(tmp_path.iterdir())
