"""Every registered component keeps the contract of its kind."""

import pytest

import registry
from motion_lab.conformance import CHECKED_KINDS, Subject, checks_for

CASES = [
    pytest.param(kind, name, check, id=f"{kind}-{name}-{check.__name__}")
    for kind in CHECKED_KINDS
    for name in registry.of_kind(kind)
    for check in checks_for(kind)
]


@pytest.mark.parametrize(("kind", "name", "check"), CASES)
def test_component_conforms(kind, name, check, speech_models):
    needs_folder = kind == "frontends" and name in speech_models
    settings = {"folder": str(speech_models[name])} if needs_folder else {}
    check(Subject(kind, {"name": name, **settings}))


@pytest.mark.parametrize("kind", registry.REGISTRIES)
def test_every_declaration_can_be_imported_and_says_what_it_is(kind):
    for name in registry.of_kind(kind):
        entry = registry.of_kind(kind).entry(name)
        assert callable(entry.load())
        assert entry.summary, f"{kind} {name} has no summary"
