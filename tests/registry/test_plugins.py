"""Plugins come in from installed packages and from paths."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from registry import EXTRACTORS, RegistryError, load_plugin


@pytest.fixture(autouse=True)
def _leave_no_trace():
    names, modules = set(EXTRACTORS.names()), set(sys.modules)
    yield
    for name in set(EXTRACTORS.names()) - names:
        EXTRACTORS.remove(name)
    for module in set(sys.modules) - modules:
        del sys.modules[module]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


PLUGIN = """
    from registry import EXTRACTORS

    @EXTRACTORS.register("from_a_file")
    class FromAFile:
        "Comes from a file."
"""


def test_file_is_loaded_once(tmp_path):
    path = write(tmp_path / "mine.py", PLUGIN)
    module = load_plugin(path)
    assert load_plugin(str(path)) is module
    assert EXTRACTORS.get("from_a_file") is module.FromAFile


def test_package_folder_is_loaded_with_its_modules(tmp_path):
    folder = tmp_path / "lab_package_for_test"
    write(
        folder / "__init__.py",
        """
        from registry import declare
        declare("extractors", "from_a_package", "lab_package_for_test.inner:Inner")
        """,
    )
    write(folder / "inner.py", "class Inner: pass")
    load_plugin(folder)
    assert EXTRACTORS.get("from_a_package").__name__ == "Inner"


def test_missing_file_and_other_files_are_refused(tmp_path):
    with pytest.raises(RegistryError, match="no such Python file"):
        load_plugin(tmp_path / "absent.py")
    with pytest.raises(RegistryError, match=r"expected a \.py file"):
        load_plugin(write(tmp_path / "notes.txt", "hello"))


def test_failing_file_is_reported_and_can_be_mended(tmp_path):
    path = write(tmp_path / "mine.py", "raise OSError('no such luck')")
    with pytest.raises(RegistryError, match=r"mine\.py failed: OSError: no such luck"):
        load_plugin(path)
    write(path, PLUGIN)
    load_plugin(path)
    assert "from_a_file" in EXTRACTORS


def test_two_plugins_of_one_name_do_not_hide_each_other(tmp_path):
    load_plugin(write(tmp_path / "a" / "mine.py", "x = 1"))
    with pytest.raises(RegistryError, match="already loaded from"):
        load_plugin(write(tmp_path / "b" / "mine.py", "x = 2"))


def installed(folder: Path, name: str, catalogue: str) -> None:
    """Lay out what pip would leave behind for a package with our entry point."""
    write(folder / f"{name}.py", catalogue)
    write(folder / f"{name}-1.0.dist-info" / "METADATA", f"Name: {name}\nVersion: 1.0\n")
    write(
        folder / f"{name}-1.0.dist-info" / "entry_points.txt",
        f"[motion_lab.plugins]\n{name} = {name}\n",
    )


def test_installed_packages_are_found_and_a_broken_one_keeps_no_other_out(tmp_path):
    installed(tmp_path, "aa_broken", "raise RuntimeError('broken inside')")
    installed(
        tmp_path,
        "good",
        """
        from registry import declare
        declare("extractors", "good_one", "good_component:Component", summary="good")
        """,
    )
    code = f"""
import sys, warnings
sys.path.insert(0, {str(tmp_path)!r})
from registry import EXTRACTORS
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert "good_one" in EXTRACTORS
assert "good_component" not in sys.modules
messages = [str(w.message) for w in caught]
assert any("aa_broken" in m and "broken inside" in m for m in messages), messages
assert len(EXTRACTORS.names()) >= 1 and len(messages) == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)
