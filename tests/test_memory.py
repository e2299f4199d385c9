"""Memory that is freed stays with the process, once it is told so."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from motion_lab.memory import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(7)
for step in range(25):
    if step == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 * 2**20)  # 64 MB, written and freed
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how):
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True)
    if done.returncode == 7:
        pytest.skip("this C library cannot be told to keep memory")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_block_that_was_freed_is_used_again():
    # Five times 64 MB in pages of at least 4 KB, or nothing.
    assert page_faults("keep") < 0.1 * page_faults("leave")
