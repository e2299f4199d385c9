"""What any registered component must satisfy, as tests to import.

In a test suite of one's own::

    import pytest
    from motion_lab.conformance import Subject, checks_for

    @pytest.mark.parametrize("check", checks_for("extractors"), ids=lambda check: check.__name__)
    def test_my_extractor(check):
        check(Subject("extractors", {"name": "my_extractor"}))

On the command line: ``motion-lab components check extractors my_extractor``.
"""

from motion_lab.conformance.checks import Result, check_component, checks_for
from motion_lab.conformance.kinds import CHECKED_KINDS, Subject

__all__ = ["CHECKED_KINDS", "Result", "Subject", "check_component", "checks_for"]
