"""The command line: what every command has in common."""

import os
import signal
import subprocess
import sys
import time

import pytest
import typer

from motion_lab import cli
from motion_lab.errors import MotionLabError, UsageError


@pytest.fixture
def failing_app(monkeypatch):
    """A command `fail` that raises whatever the test puts into the returned list."""
    app = typer.Typer(pretty_exceptions_enable=False)
    raised: list[BaseException] = []

    @app.callback()
    def _root() -> None: ...

    @app.command()
    def fail() -> None:
        raise raised[0]

    monkeypatch.setattr(cli, "app", app)
    return raised


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("there is no face"), 2),
        (MotionLabError("the disk is full"), 1),
        (ValueError("three dimensions"), 1),
        (OSError(28, "No space left on device"), 1),
        (MemoryError(), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_becomes_its_exit_code_and_no_traceback(failing_app, capsys, error, code):
    failing_app.append(error)
    with pytest.raises(SystemExit) as stop:
        cli.main(["fail"])
    assert stop.value.code == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    if isinstance(error, MotionLabError):
        assert err == f"motion-lab: {error}\n"


def test_a_killed_command_runs_its_with_blocks(monkeypatch):
    app = typer.Typer(pretty_exceptions_enable=False)
    left = []

    @app.command()
    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            left.append(True)

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 143
    assert left


def test_debug_shows_where_an_error_came_from(failing_app):
    failing_app.append(UsageError("there is no face"))
    with pytest.raises(UsageError):
        cli.main(["fail", "--debug"])


def test_an_unknown_command_is_wrong_use():
    with pytest.raises(SystemExit) as stop:
        cli.main(["frobnicate"])
    assert stop.value.code == 2


def test_help_imports_no_torch():
    program = (
        "import sys\n"
        "from motion_lab import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'av', 'omegaconf')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
