"""python -m benchmarks compare, on result files made by hand."""

import dataclasses
import json

import pytest

from benchmarks.harness.results import SCHEMA, Row, Run, read, writing
from motion_lab.errors import UsageError

RUN = Run(
    schema=SCHEMA,
    date="2026-01-01T00:00:00+00:00",
    commit=None,
    dirty=False,
    motion_lab="0",
    python="3.11",
    torch="2.11",
    threads=2,
    openmp={},
    cores=2,
    load=0.1,
    cpu="a CPU",
    isa="avx2",
    gpu=None,
    driver=None,
    compilers={"cpu": "gcc", "cuda": None},
    quick=False,
    note="",
    limits={"cpu": {"copy": {"rate": 1e9, "how": "told"}}},
)


def row(case, median=None, spread=0.01, who="ours", status="measured"):
    if median is None:
        return Row("warp", case, "forward", "cpu", "float32", who, status)
    return Row(
        "warp",
        case,
        "forward",
        "cpu",
        "float32",
        who,
        "measured",
        seconds=median,
        q1=median * (1 - spread / 2),
        q3=median * (1 + spread / 2),
        samples=9,
    )


@pytest.fixture
def compare(lab, tmp_path):
    def call(before, after, *options, **changed):
        for name, rows, run in (
            ("a.jsonl", before, RUN),
            ("b.jsonl", after, dataclasses.replace(RUN, **changed)),
        ):
            with writing(tmp_path / name, run) as writer:
                for one in rows:
                    writer.row(one)
        return lab.command("compare", tmp_path / "a.jsonl", tmp_path / "b.jsonl", *options)

    return call


def line(said, case):
    (found,) = [text for text in said.splitlines() if f" {case} " in text]
    return found


def test_what_moved_by_more_than_the_spread_is_marked_and_nothing_else(compare):
    status, said = compare(
        [row("same", 1.0), row("noisy", 1.0, spread=0.3), row("slow", 1.0), row("fast", 1.0)],
        [row("same", 1.02), row("noisy", 1.25, spread=0.3), row("slow", 1.1), row("fast", 0.5)],
    )
    assert status == 0
    assert line(said, "slow").endswith("SLOWER")
    assert line(said, "fast").endswith("faster")
    for case in ("same", "noisy"):
        assert "SLOWER" not in line(said, case)
    assert "0.500" in line(said, "fast")
    assert "1 of 4 slower or broken" in said


def test_fail_on_slower_looks_at_ours_and_beyond_the_spread(compare):
    steady = [row("same", 1.0), row("peer", 1.0, who="torch")]
    slower_peer = [row("same", 1.0), row("peer", 2.0, who="torch")]
    assert compare(steady, slower_peer, "--fail-on-slower")[0] == 0
    slower = [row("same", 1.2), row("peer", 1.0, who="torch")]
    assert compare(steady, slower, "--fail-on-slower")[0] == 1
    assert compare(steady, slower)[0] == 0


def test_a_result_that_became_wrong_is_broken_and_fails(compare):
    status, said = compare([row("sum", 1.0)], [row("sum", status="wrong")], "--fail-on-slower")
    assert status == 1
    assert line(said, "sum").endswith("BROKEN")
    status, said = compare([row("sum", status="wrong")], [row("sum", 1.0)], "--fail-on-slower")
    assert status == 0
    assert line(said, "sum").endswith("now measured")


def test_another_machine_or_number_of_threads_is_said_aloud(compare):
    both = [row("same", 1.0)]
    _, said = compare(both, both, threads=8, cpu="another CPU")
    assert "different processors: a CPU and another CPU" in said
    assert "different threads: 2 and 8" in said
    assert "different" not in compare(both, both)[1]


def test_cases_of_one_file_alone_are_named(compare):
    _, said = compare([row("same", 1.0), row("gone", 1.0)], [row("same", 1.0), row("new", 1.0)])
    assert "Only in A: warp gone forward" in said
    assert "Only in B: warp new forward" in said
    status, said = compare([row("gone", 1.0)], [row("new", 1.0)])
    assert status == 2
    assert "no row in common" in said


def test_a_file_read_is_the_file_written(tmp_path):
    rows = [row("same", 1.0), row("sum", status="wrong")]
    with writing(tmp_path / "new" / "a.jsonl", RUN) as writer:
        for one in rows:
            writer.row(one)
    read_again = read(tmp_path / "new" / "a.jsonl")
    assert (read_again.run, read_again.rows) == (RUN, rows)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda head, row: head.update(schema=99), "schema 99"),
        (lambda head, row: head.pop("threads"), "threads"),
        (lambda head, row: head.update(colour="red"), "colour"),
        (lambda head, row: row.update(seconds="long"), "seconds is 'long'"),
        (lambda head, row: row.update(status="slow"), "status is 'slow'"),
        (lambda head, row: row.update(record="line"), '"row" record'),
    ],
    ids=["schema", "missing", "unknown", "type", "status", "record"],
)
def test_a_file_of_another_schema_is_refused(tmp_path, change, said):
    path = tmp_path / "a.jsonl"
    with writing(path, RUN) as writer:
        writer.row(row("same", 1.0))
    records = [json.loads(text) for text in path.read_text().splitlines()]
    change(*records)
    path.write_text("\n".join(map(json.dumps, records)))
    with pytest.raises(UsageError, match=said):
        read(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"hello\n"])
def test_something_else_is_no_result_file(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"a\.jsonl"):
        read(path)
