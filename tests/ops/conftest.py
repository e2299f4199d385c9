"""What every test of an op runs under."""

import pytest
import torch

from motion_lab.ops import _native


@pytest.fixture(autouse=True, scope="module")
def poisoned_memory():
    """Fresh tensors hold NaN, so that an element that no kernel wrote is seen."""
    assert torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.empty(1).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def isa(request):
    """Each instruction set that this processor has."""
    module = _native.cpu()
    best = module.isa()
    try:
        module.set_isa(request.param)
    except ValueError:
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    module.set_isa(best)
