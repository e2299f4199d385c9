"""The plugin registry: components by kind and name, standard library only.

Register a component at hand with the decorator of its kind::

    from registry import EXTRACTORS

    @EXTRACTORS.register("my_extractor", summary="one line", paper="arXiv …")
    class MyExtractor(nn.Module): ...

or declare it in a light module, which the entry-point group ``motion_lab.plugins`` names::

    from registry import declare

    declare("extractors", "my_extractor", "my_package.extractor:MyExtractor", summary="one line")

What each kind's components are called with stands in :mod:`motion_lab.components.protocols`.
"""

from registry.core import Entry, Registry
from registry.errors import RegistryError
from registry.plugins import discover, load_plugin, set_aside

ENCODERS = Registry("encoders", discover)
DEPTH = Registry("depth", discover)
MOTION_ENCODERS = Registry("motion_encoders", discover)
MOTION_DECODERS = Registry("motion_decoders", discover)
RENDERERS = Registry("renderers", discover)
DETAILS = Registry("details", discover)
FRONTENDS = Registry("frontends", discover)
EXTRACTORS = Registry("extractors", discover)
BACKBONES = Registry("backbones", discover)
PERCEPTUAL = Registry("perceptual", discover)
DATASETS = Registry("datasets", discover)
METRICS = Registry("metrics", discover)
OP_BACKENDS = Registry("op_backends", discover)

REGISTRIES: dict[str, Registry] = {
    registry.kind: registry
    for registry in (
        ENCODERS,
        DEPTH,
        MOTION_ENCODERS,
        MOTION_DECODERS,
        RENDERERS,
        DETAILS,
        FRONTENDS,
        EXTRACTORS,
        BACKBONES,
        PERCEPTUAL,
        DATASETS,
        METRICS,
        OP_BACKENDS,
    )
}
"""Every kind by its name, in the order in which listings show them."""


def of_kind(kind: str) -> Registry:
    """The registry of ``kind``, for example ``"encoders"``."""
    if kind not in REGISTRIES:
        raise RegistryError(f"no kind called {kind!r}; the kinds are {', '.join(REGISTRIES)}")
    return REGISTRIES[kind]


def declare(kind: str, name: str, target: str, summary: str = "", paper: str = "") -> None:
    """Make ``module:attribute`` known as ``name`` among ``kind`` without importing it."""
    of_kind(kind).declare(name, target, summary=summary, paper=paper)


__all__ = [
    "BACKBONES",
    "DATASETS",
    "DEPTH",
    "DETAILS",
    "ENCODERS",
    "EXTRACTORS",
    "FRONTENDS",
    "METRICS",
    "MOTION_DECODERS",
    "MOTION_ENCODERS",
    "OP_BACKENDS",
    "PERCEPTUAL",
    "REGISTRIES",
    "RENDERERS",
    "Entry",
    "Registry",
    "RegistryError",
    "declare",
    "discover",
    "load_plugin",
    "of_kind",
    "set_aside",
]
