"""Says at the end of a run, aloud, what could not run on this machine."""

from collections import Counter

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)  # so that it comes last
def pytest_terminal_summary(terminalreporter):
    yield
    skipped = Counter(
        (mark, report.longrepr[2].removeprefix("Skipped: "))
        for report in terminalreporter.stats.get("skipped", [])
        for mark in ("cuda", "simt")
        if mark in getattr(report, "keywords", ())  # a module that skips itself has none
    )
    for (mark, reason), count in skipped.items():
        terminalreporter.write_line(f"{count} {mark} cases skipped: {reason}", yellow=True)
