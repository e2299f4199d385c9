"""Bring in components from installed packages and from files that the user names."""

from __future__ import annotations

import importlib.util
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from registry.errors import RegistryError, explain

GROUP = "motion_lab.plugins"
"""Entry-point group; each entry names a light module that declares components."""

_lock = threading.RLock()
_discovered = False
_set_aside: dict[str, str] = {}


def discover() -> None:
    """Import the catalogue of every installed package in the group, once.

    A package whose catalogue fails is reported by a warning, set aside as a whole, and does not
    keep others out.
    """
    global _discovered
    if _discovered:
        return
    with _lock:
        if _discovered:
            return
        _discovered = True  # set first: a catalogue may itself look something up
        # Ours goes first, so that a clash of names is laid at the plugin's door.
        for point in sorted(entry_points(group=GROUP), key=lambda p: (p.name != "motion_lab", p)):
            try:
                with _all_or_nothing():
                    point.load()
            except Exception as error:
                _set_aside[point.name] = f"{point.value}: {explain(error)}"
                warnings.warn(
                    f"plugin {point.name!r} is set aside, {_set_aside[point.name]}", stacklevel=2
                )


def set_aside() -> dict[str, str]:
    """Installed plugins that could not be loaded: name → what is wrong with them."""
    discover()
    return dict(_set_aside)


@contextmanager
def _all_or_nothing() -> Iterator[None]:
    """What is registered inside is taken back if something goes wrong there."""
    from registry import REGISTRIES

    before = {kind: dict(registry._entries) for kind, registry in REGISTRIES.items()}
    try:
        yield
    except BaseException:
        for kind, registry in REGISTRIES.items():
            registry._entries = before[kind]
        raise


def load_plugin(path: str | Path) -> ModuleType:
    """Run a Python file, or a package folder with ``__init__.py``, for what it registers.

    Loading the same path again returns the module already there.

    Raises:
        RegistryError: there is no such file, it is not Python, or it fails as it runs.
    """
    discover()  # first, so that it is no part of what a failing plugin takes back
    path = Path(path).resolve()
    source = path / "__init__.py" if path.is_dir() else path
    if not source.is_file():
        raise RegistryError(f"plugin {path}: there is no such Python file or package folder")
    if source.suffix != ".py":
        raise RegistryError(f"plugin {path}: expected a .py file or a package folder")
    # A package keeps its name, because its declarations say 'package.module:attribute'.
    name = path.name if path.is_dir() else f"motion_lab_plugin_{path.stem}"
    present = sys.modules.get(name)
    if present is not None:
        if Path(getattr(present, "__file__", None) or "").resolve() == source:
            return present
        raise RegistryError(
            f"plugin {path}: a module called {name!r} is already loaded from "
            f"{getattr(present, '__file__', 'elsewhere')}; rename the plugin"
        )
    spec = importlib.util.spec_from_file_location(
        name, source, submodule_search_locations=[str(path)] if path.is_dir() else None
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _all_or_nothing():
            spec.loader.exec_module(module)
    except RegistryError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise RegistryError(f"plugin {path} failed: {explain(error)}") from error
    return module
