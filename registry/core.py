"""One registry: names of one kind of component, imported only when they are used."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

from registry.arguments import check_arguments
from registry.errors import RegistryError, explain

T = TypeVar("T", bound=Callable[..., Any])


@dataclass
class Entry:
    """A registered component: where it lives and what it says of itself."""

    kind: str
    name: str
    target: str
    """Where it is found, as ``module:attribute``."""
    summary: str = ""
    paper: str = ""
    _loaded: Callable[..., Any] | None = field(default=None, repr=False)

    def load(self) -> Callable[..., Any]:
        """The component itself, imported on the first call."""
        if self._loaded is None:
            module, _, attribute = self.target.partition(":")
            try:
                found: Any = importlib.import_module(module)
                for part in attribute.split("."):
                    found = getattr(found, part)
            except Exception as error:  # a module may fail in any way as it is imported
                raise RegistryError(
                    f"{self.kind} {self.name!r} is declared as {self.target!r}, "
                    f"which cannot be imported: {explain(error)}"
                ) from error
            self._loaded = found
        assert self._loaded is not None
        return self._loaded


class Registry:
    """Components of one kind by name.

    Two ways in: :meth:`register` decorates a class or factory at hand; :meth:`declare` names one
    as ``module:attribute`` without importing it. Names are case-sensitive and unique.

    Args:
        kind: what the components are, in the plural; it opens every error message.
        discover: called before the first look-up, to bring in what plugins declare.
    """

    def __init__(self, kind: str, discover: Callable[[], None] | None = None) -> None:
        self.kind = kind
        self._discover = discover
        self._entries: dict[str, Entry] = {}

    def register(self, name: str, *, summary: str = "", paper: str = "") -> Callable[[T], T]:
        """Class decorator: make the class (or factory function) known as ``name``.

        Args:
            name: what configurations call it.
            summary: one line for listings; the docstring's first line if left out.
            paper: where it comes from, for example ``"arXiv 2312.00752"``.
        """

        def decorate(component: T) -> T:
            # First the built-ins and plugins, so that a clash is reported at this line.
            self._bring_in()
            lines = (inspect.getdoc(component) or "").splitlines()
            self._add(
                Entry(
                    self.kind,
                    name,
                    f"{component.__module__}:{component.__qualname__}",
                    summary or (lines[0] if lines else ""),
                    paper,
                    component,
                )
            )
            return component

        return decorate

    def declare(self, name: str, target: str, *, summary: str = "", paper: str = "") -> None:
        """Make ``module:attribute`` known as ``name`` without importing it."""
        module, colon, attribute = target.partition(":")
        if not (module and colon and attribute):
            raise RegistryError(
                f"{self.kind} {name!r}: the target must read 'module:attribute', got {target!r}"
            )
        self._add(Entry(self.kind, name, target, summary, paper))

    def remove(self, name: str) -> None:
        """Forget ``name``, so that it can be registered anew."""
        del self._entries[self.entry(name).name]

    def names(self) -> tuple[str, ...]:
        """All names, sorted; imports no component."""
        self._bring_in()
        return tuple(sorted(self._entries))

    def entry(self, name: str) -> Entry:
        """What is known of ``name`` without importing it.

        Raises:
            RegistryError: there is no such name; the message proposes the nearest ones.
        """
        self._bring_in()
        if name not in self._entries:
            raise RegistryError(self._unknown(name))
        return self._entries[name]

    def get(self, name: str) -> Callable[..., Any]:
        """The class or factory registered as ``name``."""
        return self.entry(name).load()

    def signature(self, name: str) -> inspect.Signature:
        """How ``name`` is called."""
        return inspect.signature(self.get(name))

    def build(self, spec: str | Mapping[str, Any], **shared: Any) -> Any:
        """Make a component.

        Args:
            spec: its name, or a mapping of ``name`` and keyword arguments, as configurations
                write it: ``{"name": "mamba_local", "width": 128}``.
            shared: keyword arguments that the caller gives to every component of this kind,
                such as sizes that must agree across a model.

        Raises:
            RegistryError: the name is unknown, an argument is given both in ``spec`` and by the
                caller, unknown, missing, or of a type other than it is annotated with.
        """
        name, own = self._read(spec)
        component = self.get(name)
        what = f"{self.kind} {name!r}"
        twice = sorted(own.keys() & shared.keys())
        if twice:
            raise RegistryError(
                f"{what}: {', '.join(twice)} is set by the model that contains it; "
                "leave it out of the component's own settings"
            )
        arguments = {**own, **shared}
        check_arguments(what, component, arguments)
        return component(**arguments)

    def __contains__(self, name: object) -> bool:
        self._bring_in()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(sorted(self._entries)) or 'empty'})"

    def _bring_in(self) -> None:
        if self._discover is not None:
            self._discover()

    def _read(self, spec: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        if isinstance(spec, str):
            return spec, {}
        if not isinstance(spec, Mapping):
            raise RegistryError(
                f"{self.kind}: expected a name or a mapping with 'name', got {spec!r}"
            )
        own = {str(key): value for key, value in spec.items()}
        name = own.pop("name", None)
        if not isinstance(name, str):
            raise RegistryError(
                f"{self.kind}: {dict(spec)!r} does not say which one: "
                f"give it a 'name' out of {', '.join(self.names()) or 'none registered'}"
            )
        return name, own

    def _add(self, entry: Entry) -> None:
        before = self._entries.get(entry.name)
        # Not a clash: a declared component whose module also carries the decorator,
        # and a notebook cell that is run again.
        same = before is not None and before.target == entry.target
        filled_in = same and before is not None and before._loaded is None
        run_again = same and entry.target.startswith("__main__:") and "<locals>" not in entry.target
        if before is not None and not (filled_in or run_again):
            raise RegistryError(
                f"{self.kind} {entry.name!r} is taken by {before.target}; "
                f"register {entry.target} under another name"
            )
        if before is not None:
            entry.summary = before.summary or entry.summary
            entry.paper = before.paper or entry.paper
        self._entries[entry.name] = entry

    def _unknown(self, name: str) -> str:
        near = get_close_matches(str(name), self._entries, n=3, cutoff=0.5)
        known = ", ".join(sorted(self._entries)) or "none"
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        # Imported here: plugins are loaded into registries.
        from registry.plugins import set_aside

        aside = "".join(
            f" Plugin {each!r} is set aside, {why}." for each, why in set_aside().items()
        )
        return f"no {self.kind} called {name!r}.{hint} Registered: {known}.{aside}"
