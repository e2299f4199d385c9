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


GOOD = """
    from registry import declare
    declare("extractors", "good_one", "good_component:Component", summary="good")
"""
BROKEN = {
    "import_error": ("from json import no_such_thing", "ImportError: cannot import name"),
    "missing_dependency": ("import no_such_package", "it needs 'no_such_package', which is not"),
    "syntax_error": ("def broken(", "SyntaxError"),
    "crash": ("raise RuntimeError('broken inside')", "RuntimeError: broken inside"),
    "name_taken": (
        """
        from registry import declare
        declare("backbones", "half_of_it", "anywhere:Thing")
        declare("extractors", "mamba_g", "anywhere:Thing")
        """,
        "extractors 'mamba_g' is taken by motion_lab.components",
    ),
    "no_such_kind": (
        "from registry import declare; declare('extractor', 'x', 'y:Z')",
        "no kind called 'extractor'",
    ),
}


def test_broken_packages_are_named_and_set_aside_and_all_else_works(tmp_path):
    installed(tmp_path, "good", GOOD)
    for name, (catalogue, _) in BROKEN.items():
        installed(tmp_path, name, catalogue)
    code = f"""
import sys, warnings
sys.path.insert(0, {str(tmp_path)!r})
from registry import BACKBONES, EXTRACTORS, set_aside
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert "good_one" in EXTRACTORS
assert "good_component" not in sys.modules
assert "mamba_g" in EXTRACTORS and EXTRACTORS.entry("mamba_g").target.startswith("motion_lab.")
assert "half_of_it" not in BACKBONES, "a plugin set aside leaves nothing behind"
messages = [str(w.message) for w in caught]
for name, (_, reason) in {BROKEN!r}.items():
    assert name in set_aside()[name] and reason in set_aside()[name], set_aside()
    assert any(f"plugin {{name!r}} is set aside" in m and reason in m for m in messages), messages
try:
    EXTRACTORS.build("from_the_crashed_one")
except Exception as error:
    assert "Plugin 'crash' is set aside, crash: RuntimeError: broken inside" in str(error), error
else:
    raise SystemExit("a component of a plugin that crashed was built")
assert len(set_aside()) == len(messages) == {len(BROKEN)}
from motion_lab import cli
try:
    cli.main(["components", "extractors"])
except SystemExit as stop:
    assert stop.code == 0
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "good_one" in listed
    listed = " ".join(listed.split())
    for name in BROKEN:
        assert f"set aside plugin {name}: {name}" in listed


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_package", "it needs 'no_such_package', which is not installed"),
        ("raise OSError('no such library')", "OSError: no such library"),
        ("x = 1", "AttributeError"),
    ],
)
def test_a_component_that_cannot_be_imported_is_named_when_it_is_used(tmp_path, source, reason):
    folder = tmp_path / f"lab_lazy_package_{len(source)}"
    write(
        folder / "__init__.py",
        f"""
        from registry import declare
        declare("extractors", "from_a_package", "{folder.name}.inner:Inner")
        """,
    )
    write(folder / "inner.py", source)
    load_plugin(folder)
    assert "from_a_package" in EXTRACTORS
    with pytest.raises(
        RegistryError, match=f"extractors 'from_a_package' is declared as.*{reason}"
    ):
        EXTRACTORS.get("from_a_package")
    assert EXTRACTORS.build("none", features=3) is not None


def test_a_failing_file_leaves_nothing_behind(tmp_path):
    path = write(tmp_path / "mine.py", textwrap.dedent(PLUGIN) + "raise OSError('too late')")
    with pytest.raises(RegistryError, match="too late"):
        load_plugin(path)
    assert "from_a_file" not in EXTRACTORS
    assert "mamba_g" in EXTRACTORS
    write(path, PLUGIN)
    load_plugin(path)
    assert "from_a_file" in EXTRACTORS
