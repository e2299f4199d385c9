"""`motion-lab components` lists, shows and checks."""

import pytest

from motion_lab import cli
from registry import REGISTRIES

PLUGIN = '''
"""Three extractors, of which one keeps the contract."""
from torch import nn
from registry import EXTRACTORS


@EXTRACTORS.register("fine_[one]", summary="keeps the contract", paper="nowhere yet")
class Fine(nn.Module):
    """Reads every frame by itself."""

    window = 0
    context = 4

    def __init__(self, features: int = 3, gain: float = 1.0) -> None:
        super().__init__()
        self.read, self.gain = nn.Linear(features, 4), gain

    def forward(self, features):
        return self.gain * self.read(features)


@EXTRACTORS.register("short", summary="drops a frame")
class Short(Fine):
    def forward(self, features):
        return super().forward(features)[:, 1:]
'''


@pytest.fixture
def motion_lab(tmp_path, capsys, monkeypatch):
    """Run the command with the plugin above; returns exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "plugin_of_the_cli_test.py"
    path.write_text(PLUGIN)

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main(["components", *arguments, "--plugin", str(path)])
        out, err = capsys.readouterr()
        return stop.value.code, out, " ".join(err.split())

    yield run
    import sys

    sys.modules.pop("motion_lab_plugin_plugin_of_the_cli_test", None)
    for name in ("fine_[one]", "short"):
        if name in REGISTRIES["extractors"]:
            REGISTRIES["extractors"].remove(name)


def test_without_arguments_every_kind_is_listed(motion_lab):
    code, out, _ = motion_lab()
    assert code == 0
    for kind, registry in REGISTRIES.items():
        assert kind in out
        assert all(name in out for name in registry)


def test_one_kind_is_listed_with_summary_and_paper(motion_lab):
    code, out, _ = motion_lab("extractors")
    assert code == 0
    assert "renderers" not in out
    line = next(line for line in out.splitlines() if "fine_[one]" in line)
    assert "keeps the contract" in line
    assert "nowhere yet" in line


def test_show_prints_signature_documentation_and_source(motion_lab):
    code, out, _ = motion_lab("show", "extractors", "fine_[one]")
    assert code == 0
    assert "Fine(features: int = 3, gain: float = 1.0)" in out
    assert "Reads every frame by itself." in out
    assert "return self.gain * self.read(features)" in out


def test_check_passes_with_settings(motion_lab):
    code, out, _ = motion_lab("check", "extractors", "fine_[one]", "gain=2")
    assert code == 0, out
    assert "fine_[one] keeps the contract of extractors" in out


def test_check_fails_with_the_reason_and_exit_1(motion_lab):
    code, out, _ = motion_lab("check", "extractors", "short")
    assert code == 1
    assert "failed shapes: the context must be" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "extractor", "x"], "no kind called 'extractor'"),
        (["show", "extractors", "shirt"], "Did you mean 'short'"),
        (["check", "extractors", "short", "gian=1"], "did you mean 'gain'"),
        (["check", "extractors", "short", "gain=loud"], "'gain' must be float, got 'loud'"),
        (["check", "extractors", "short", "gain"], "write KEY=VALUE"),
        (["check", "op_backends", "x"], "no conformance checks for 'op_backends'"),
    ],
)
def test_wrong_use_exits_with_2(motion_lab, arguments, message):
    code, _, err = motion_lab(*arguments)
    assert code == 2
    assert message in err
