"""What any registered component must satisfy, as tests to import.

In a test suite of one's own, two lines::

    from motion_lab.conformance import conformance_tests

    test_my_extractor = conformance_tests("extractors", "my_extractor", width=32)

On the command line: ``motion-lab components check extractors my_extractor width=32``.
"""

from typing import Any

from motion_lab.conformance.checks import Result, check_component, checks_for
from motion_lab.conformance.kinds import CHECKED_KINDS, Subject

__all__ = [
    "CHECKED_KINDS",
    "Result",
    "Subject",
    "check_component",
    "checks_for",
    "conformance_tests",
]


def conformance_tests(kind: str, name: str, **settings: Any) -> Any:
    """A test for pytest, parametrised by every check of the kind.

    Args:
        kind: one of :data:`CHECKED_KINDS`.
        name: the component's, registered by the time that the test runs: its package is installed,
            or the test module imports it.
        settings: arguments to build it with.
    """
    import pytest

    subject = Subject(kind, {**settings, "name": name})

    @pytest.mark.parametrize("check", checks_for(kind), ids=lambda check: check.__name__)
    def test(check: Any) -> None:
        check(subject)

    return test
