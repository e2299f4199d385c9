"""Every registered component keeps the contract of its kind."""

import inspect

import pytest

import registry
from motion_lab.conformance import CHECKED_KINDS, Subject, checks_for

SETTINGS = {
    ("datasets", name): {"clips": 2, "held_out": 1, "frames": 12}
    for name in ("talking_heads", "talking_bodies")
}
SPEECH_MODELS = ("wav2vec2", "hubert")  # their folders come from a fixture


def needs_files(kind, name):
    """Whether only a user can build it, with the file of a published network."""
    parameters = registry.of_kind(kind).signature(name).parameters.values()
    published = kind in ("metrics", "perceptual")
    return published and any(p.default is inspect.Parameter.empty for p in parameters)


CASES = [
    pytest.param(
        kind,
        name,
        check,
        id=f"{kind}-{name}-{check.__name__}",
        marks=pytest.mark.xdist_group(f"conformance of {kind}"),
    )
    for kind in CHECKED_KINDS
    for name in registry.of_kind(kind)
    if not needs_files(kind, name)
    for check in checks_for(kind)
]


@pytest.mark.parametrize(("kind", "name", "check"), CASES)
def test_component_conforms(kind, name, check, request):
    settings = SETTINGS.get((kind, name), {})
    if name in SPEECH_MODELS:
        settings = {"folder": str(request.getfixturevalue("speech_models")[name])}
    if name == "pats":
        settings = {"source": str(request.getfixturevalue("pats_folder")), "frames": 12}
    check(Subject(kind, {"name": name, **settings}))


@pytest.mark.parametrize("kind", registry.REGISTRIES)
def test_every_declaration_can_be_imported_and_says_what_it_is(kind):
    for name in registry.of_kind(kind):
        entry = registry.of_kind(kind).entry(name)
        assert callable(entry.load())
        assert entry.summary, f"{kind} {name} has no summary"
