"""The registry finds, builds and refuses components, and stays light."""

import subprocess
import sys

import pytest

from registry import REGISTRIES, Registry, RegistryError, declare, of_kind


@pytest.fixture
def shapes() -> Registry:
    registry = Registry("shapes")

    @registry.register("square", summary="four equal sides", paper="Euclid")
    class Square:
        """A square.

        More about squares.
        """

        def __init__(self, *, side: int, colour: str = "red", scale: float | None = None) -> None:
            self.side, self.colour, self.scale = side, colour, scale

    registry.declare("ordered", "collections:OrderedDict", summary="not a shape")
    return registry


def test_decorated_component_is_found_by_name(shapes):
    assert shapes.get("square").__name__ == "Square"
    assert shapes.names() == ("ordered", "square")
    assert "square" in shapes
    assert list(shapes) == ["ordered", "square"]
    assert shapes.entry("square").paper == "Euclid"


def test_summary_falls_back_to_the_docstring():
    registry = Registry("shapes")

    @registry.register("round")
    class Round:
        """A circle.

        Not part of the summary.
        """

    assert registry.entry("round").summary == "A circle."


@pytest.mark.parametrize(
    "spec", [{"name": "square", "side": 2, "colour": "blue"}, {"name": "square", "colour": "blue"}]
)
def test_build_merges_own_and_shared_arguments(shapes, spec):
    shared = {} if "side" in spec else {"side": 2}
    square = shapes.build(spec, **shared)
    assert (square.side, square.colour) == (2, "blue")


def test_build_takes_a_bare_name(shapes):
    assert shapes.build("square", side=3).side == 3


def test_build_leaves_the_spec_as_it_was(shapes):
    spec = {"name": "square", "side": 1}
    shapes.build(spec)
    assert spec == {"name": "square", "side": 1}


def test_unknown_name_answers_with_the_nearest(shapes):
    with pytest.raises(RegistryError, match=r"no shapes called 'sqare'.*mean 'square'.*ordered"):
        shapes.get("sqare")


def test_duplicates_are_refused_and_name_the_holder(shapes):
    with pytest.raises(RegistryError, match=r"'square' is taken by .*Square"):
        shapes.declare("square", "collections:OrderedDict")
    with pytest.raises(RegistryError, match="taken"):

        @shapes.register("square")
        class Square:
            pass


def test_decorator_on_the_declared_object_is_no_duplicate():
    registry = Registry("shapes")

    class Cube:
        pass

    registry.declare("cube", f"{Cube.__module__}:{Cube.__qualname__}", summary="declared")
    registry.register("cube")(Cube)
    assert registry.get("cube") is Cube
    assert registry.entry("cube").summary == "declared"


def test_notebook_cell_can_be_run_again():
    registry = Registry("shapes")
    for _ in range(2):
        cell = type("Cube", (), {"__module__": "__main__", "__qualname__": "Cube"})
        registry.register("cube")(cell)
    assert registry.get("cube") is cell


def test_removed_name_is_free_again(shapes):
    shapes.remove("square")
    assert "square" not in shapes
    shapes.declare("square", "collections:OrderedDict")


@pytest.mark.parametrize(
    ("spec", "shared", "message"),
    [
        ({"name": "square"}, {}, r"'side' is missing.*Square\(\*, side: "),
        ({"name": "square", "side": 1, "color": "b"}, {}, r"'color'.*mean 'colour'.*Square\("),
        ({"name": "square", "side": 1}, {"side": 1}, "side is set by the model"),
        ({"name": "square", "side": "1"}, {}, r"'side' must be int, got '1'"),
        ({"name": "square", "side": True}, {}, r"'side' must be int, got True"),
        ({"name": "square", "side": 1.5}, {}, r"'side' must be int, got 1.5"),
        ({"name": "square", "side": 1, "scale": "x"}, {}, r"'scale' must be"),
        ({"side": 1}, {}, "give it a 'name'"),
        (3, {}, "expected a name or a mapping"),
    ],
)
def test_wrong_arguments_are_reported_with_the_signature(shapes, spec, shared, message):
    with pytest.raises(RegistryError, match=message):
        shapes.build(spec, **shared)


def test_integers_and_none_fit_an_optional_float(shapes):
    assert shapes.build("square", side=1, scale=2).scale == 2
    assert shapes.build("square", side=1, scale=None).scale is None


def test_error_raised_by_the_component_itself_comes_through():
    registry = Registry("shapes")

    @registry.register("picky")
    def picky() -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        registry.build("picky")


@pytest.mark.parametrize("target", ["no.such.module:Thing", "collections:NoSuchThing"])
def test_broken_declaration_says_where_it_points(target):
    registry = Registry("shapes")
    registry.declare("broken", target)
    assert registry.names() == ("broken",)
    with pytest.raises(RegistryError, match=f"declared as '{target}'"):
        registry.get("broken")


@pytest.mark.parametrize("target", ["no_colon", ":x", "module:"])
def test_malformed_target_is_refused_at_once(target):
    with pytest.raises(RegistryError, match="module:attribute"):
        Registry("shapes").declare("bad", target)


def test_discovery_precedes_every_look_up():
    calls = []

    def discover() -> None:
        if not calls:
            calls.append(1)
            registry.declare("found", "collections:OrderedDict")

    registry = Registry("shapes", discover)
    assert "found" in registry
    assert calls == [1]


def test_unknown_kind_lists_the_kinds():
    with pytest.raises(RegistryError, match=r"no kind called 'encoder'.*encoders"):
        of_kind("encoder")
    with pytest.raises(RegistryError, match="kinds are"):
        declare("nonsense", "x", "a:b")


def test_listing_names_imports_no_torch_and_no_component():
    code = (
        "import sys, registry\n"
        "names = [r.names() for r in registry.REGISTRIES.values()]\n"
        "import motion_lab\n"
        "heavy = [m for m in sys.modules if m in ('torch', 'numpy', 'motion_lab.components')]\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_kind_is_registered_under_its_own_name():
    assert all(kind == registry.kind for kind, registry in REGISTRIES.items())
