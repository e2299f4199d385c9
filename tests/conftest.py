"""What all tests have: their shares of the work, and a last word on what could not run here."""

import signal
from collections import Counter

import pytest


def pytest_configure():
    """Ctrl-C reaches the tests and what they start, also where a shell runs them in the
    background: there they inherit that it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Workers of xdist take whole files, which share what is dear to make, or groups in them."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


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
