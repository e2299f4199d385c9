"""Drop-ins keep the signatures and results of what they replace."""

import inspect

import torch

from motion_lab.compat import selective_scan_fn
from motion_lab.ops import selective_scan


def test_selective_scan_fn_has_mambas_signature():
    names = "u delta A B C D z delta_bias delta_softplus return_last_state"
    assert list(inspect.signature(selective_scan_fn).parameters) == names.split()


def test_selective_scan_fn_is_the_scan_with_its_options_by_position():
    u, delta, z = torch.randn(3, 2, 6, 9)
    A, B, C = -torch.rand(6, 4), torch.randn(2, 4, 9), torch.randn(2, 2, 4, 9)[:, 0]
    D, bias = torch.randn(2, 6)
    out, last = selective_scan_fn(u, delta, A, B, C, D, z, bias, True, True)
    expected, expected_last = selective_scan(
        u, delta, A, B, C, D, z, bias, delta_softplus=True, return_last_state=True
    )
    assert torch.equal(out, expected)
    assert torch.equal(last, expected_last)
    assert torch.equal(selective_scan_fn(u, delta, A, B, C, D, z, bias, True), expected)
