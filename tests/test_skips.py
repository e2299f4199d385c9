"""What a run of the tests says of those that it skipped."""

import subprocess
import sys
from pathlib import Path


def test_a_module_that_skips_itself_does_not_keep_the_others_from_being_counted(tmp_path):
    (tmp_path / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (tmp_path / "test_whole.py").write_text("import pytest\npytest.importorskip('not_installed')\n")
    (tmp_path / "test_one.py").write_text(
        "import pytest\n"
        "@pytest.mark.cuda\n"
        "@pytest.mark.skip(reason='no CUDA device')\n"
        "def test_it(): ...\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert "1 cuda cases skipped: no CUDA device" in done.stdout
    assert "Error" not in done.stdout + done.stderr
