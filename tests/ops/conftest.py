"""What every test of an op runs under."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def poisoned_memory():
    """Fresh tensors hold NaN, so that an element that no kernel wrote is seen."""
    assert torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.empty(1).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
