"""Output files appear whole or not at all."""

import os
import stat

import pytest

from motion_lab.files import remove_unfinished, whole_file


def test_a_file_replaces_the_old_one_only_when_it_is_whole(tmp_path):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")

    def stopped_half_way():
        with whole_file(path) as unfinished:
            unfinished.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_half_way()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_makes_a_file_of_its_own_leaves_the_usual_permissions(tmp_path):
    path, usual = tmp_path / "out.bin", tmp_path / "usual"
    usual.touch()
    with whole_file(path) as unfinished:
        own = tmp_path / "own"
        own.write_bytes(b"new")
        own.chmod(0o600)
        os.replace(own, unfinished)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


def test_what_a_killed_process_left_can_be_removed(tmp_path):
    path = tmp_path / "out.bin"
    with whole_file(path) as unfinished:
        unfinished.with_name(f"{unfinished.stem}0.part").touch()
    remove_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
