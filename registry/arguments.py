"""Compare keyword arguments with a component's signature before it is called."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from registry.errors import RegistryError

_SCALARS: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (float, int),
    bool: (bool,),
    str: (str,),
    type(None): (type(None),),
}


def check_arguments(what: str, component: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Refuse arguments that ``component`` does not take, lacks, or takes as another scalar type.

    Args:
        what: the component in words, to open the message with.
        component: the class or factory about to be called.
        given: the keyword arguments it would be called with.

    Raises:
        RegistryError: all that is wrong, followed by the component's signature.
    """
    signature = inspect.signature(component)
    parameters = signature.parameters.values()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    wrong = []
    for name in given:
        if name not in named and not takes_any:
            near = get_close_matches(name, named, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            wrong.append(f"it takes no argument {name!r}{hint}")
    for name, parameter in named.items():
        if name not in given and parameter.default is parameter.empty:
            wrong.append(f"argument {name!r} is missing")
    hints = _annotations(component)
    for name, value in given.items():
        allowed = _scalars(hints.get(name, Any))
        # bool is an int to Python, never to somebody who wrote `width: true`.
        fits = allowed is None or (
            bool in allowed if isinstance(value, bool) else isinstance(value, allowed)
        )
        if name in named and not fits:
            wanted = named[name].annotation
            wanted = getattr(wanted, "__name__", wanted)
            wrong.append(f"argument {name!r} must be {wanted}, got {value!r}")
    if wrong:
        shown = f"{getattr(component, '__name__', component)}{_plain(signature)}"
        raise RegistryError(f"{what}: {'; '.join(wrong)}. Its signature is {shown}")


def _annotations(component: Callable[..., Any]) -> dict[str, Any]:
    function = component.__init__ if inspect.isclass(component) else component
    try:
        return typing.get_type_hints(function)
    except Exception:  # names that exist for the type checker only: nothing to compare with
        return {}


def _scalars(annotation: Any) -> tuple[type, ...] | None:
    """The scalar types an annotation allows; None where it is anything but scalars."""
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        allowed: list[type] = []
        for part in typing.get_args(annotation):
            if part not in _SCALARS:
                return None
            allowed.extend(_SCALARS[part])
        return tuple(allowed)
    return None


def _plain(signature: inspect.Signature) -> str:
    return str(signature.replace(return_annotation=inspect.Signature.empty))
