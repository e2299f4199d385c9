"""What the causal convolution means; that its kernels compute it is test_battery.py's to show."""

import functools
import importlib
import math
import sys
import types
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from cases.causal_conv1d import BASE, CASES, CAUSAL_CONV1D
from cases.op import FLOATS, assert_right, run
from motion_lab.ops import _native, backends, causal_conv1d
from motion_lab.ops._backends import table

# The package's function hides its module of the same name.
_causal_conv1d = importlib.import_module("motion_lab.ops.causal_conv1d")


def test_reference_is_the_definition_written_out():
    t = replace(BASE, batch=1, dim=2, length=6, width=3, initial_state=True).arguments(
        torch.float64
    )
    out = causal_conv1d(**t, backend="reference")
    for c in range(2):
        past = t["initial_state"][0, c].tolist() + t["x"][0, c].tolist()
        for i in range(6):
            pre = float(t["bias"][c]) + sum(
                float(t["weight"][c, k]) * past[i + k] for k in range(3)
            )
            assert out[0, c, i].item() == pytest.approx(pre / (1 + math.exp(-pre)), rel=1e-12)


def test_nothing_is_left_of_the_most_negative_input(isa):
    lowest = torch.full((1, 40, 40), torch.finfo(torch.float32).min, requires_grad=True)
    out = causal_conv1d(lowest, torch.ones(40, 1), activation="silu", backend="native")
    assert (out == 0).all()
    assert (torch.autograd.grad(out.sum(), lowest)[0] == 0).all()


@pytest.mark.parametrize("backend", ["native", "torch", "reference"])
@pytest.mark.parametrize("width", [1, 4, 9])
def test_is_torchs_convolution_padded_at_the_start(backend, width):
    t = replace(BASE, width=width, silu=False).arguments(torch.float64)
    padded = F.conv1d(t["x"], t["weight"][:, None], t["bias"], padding=width - 1, groups=20)
    torch.testing.assert_close(causal_conv1d(**t, backend=backend), padded[:, :, :37])


@pytest.mark.parametrize("backend", ["native", "torch", "reference"])
def test_reverse_is_the_convolution_of_the_flipped_signal(backend):
    t = replace(BASE, initial_state=True, reverse=True).arguments(torch.float32)
    out, last = causal_conv1d(**t, return_last_state=True, backend=backend)
    flipped = {n: t[n].flip(-1) if n in ("x", "initial_state") else t[n] for n in t}
    flipped["reverse"] = False
    expected, expected_last = causal_conv1d(**flipped, return_last_state=True, backend=backend)
    torch.testing.assert_close(out, expected.flip(-1))
    torch.testing.assert_close(last, expected_last.flip(-1))


@pytest.mark.parametrize("backend", ["native", "torch", "reference"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cut", [1, 20, 36])
def test_cut_in_two_it_continues_from_its_last_state(backend, reverse, cut):
    t = replace(BASE, reverse=reverse, initial_state=True).arguments(torch.float32)
    options = {n: t[n] for n in ("weight", "bias", "activation", "reverse")} | {"backend": backend}

    def run(x, state):
        return causal_conv1d(x, initial_state=state, return_last_state=True, **options)

    def whole(x, state):
        return run(x, state)

    def pieces(x, state):
        parts = [x[..., :cut], x[..., cut:]]
        outputs = []
        for part in reversed(parts) if reverse else parts:
            out, state = run(part, state)
            outputs.append(out)
        return torch.cat(outputs[::-1] if reverse else outputs, -1), state

    results = []
    for way in (whole, pieces):
        leaves = [t[n].clone().requires_grad_() for n in ("x", "initial_state")]
        out, last = way(*leaves)
        results.append([out, last, *torch.autograd.grad([out.square().sum(), last.sum()], leaves)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("layout", ["plain", "channels last", "every second"])
@pytest.mark.parametrize("reverse", [False, True])
def test_an_output_sees_its_own_inputs_and_no_others(layout, reverse):
    """What is not finite would be seen even through a weight of zero."""
    t = replace(BASE, reverse=reverse, layouts=(layout,)).arguments(torch.float32)
    t["x"][1, 7, 20] = float("nan")
    t["x"][1, 18, 9] = float("inf")
    out = causal_conv1d(**t)
    expected = torch.zeros_like(out, dtype=torch.bool)
    expected[1, 7, 17:21] = reverse
    expected[1, 7, 20:24] |= not reverse
    assert torch.equal(out.isnan() & (torch.arange(20) != 18)[:, None], expected)
    seen = slice(6, 10) if reverse else slice(9, 13)
    assert not out[1, 18, seen].isfinite().logical_and(out[1, 18, seen] != 0).any()
    out[1, 18, seen] = 0
    assert torch.equal(out.isfinite(), ~expected)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", ["many channels", "long", "more taps than steps"])
def test_every_instruction_set_is_right(isa, case, dtype):
    assert_right(CAUSAL_CONV1D, CASES[case], dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_value_of_16_bits_is_read_and_rounded_as_torch_does(isa, dtype):
    """Of numbers, infinities and NaNs: the products of a single tap."""
    x = torch.arange(-(2**15), 2**15).short().view(dtype).view(1, 256, 256)
    weight = torch.linspace(-3, 3, 256)[:, None]
    expected = (x.float() * weight).to(dtype)
    for signals in (x, x.mT.contiguous().mT):
        out = causal_conv1d(signals, weight)
        torch.testing.assert_close(out, expected, rtol=0, atol=0, equal_nan=True)


def test_signals_stay_as_they_lie():
    signals = torch.randn(2, 37, 40)
    t = BASE.arguments(torch.float32)
    t["x"] = signals.transpose(1, 2)[:, :20]  # the first half of a projection
    assert causal_conv1d(**t).transpose(1, 2).is_contiguous()
    t["x"] = t["x"].contiguous()
    assert causal_conv1d(**t).is_contiguous()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("initial_state", [False, True])
def test_the_peers_package_is_given_what_it_knows(monkeypatch, reverse, initial_state):
    """Its kernels run on a GPU only: here the reference stands for the package."""
    peer = types.ModuleType("causal_conv1d")
    peer.causal_conv1d_fn = functools.partial(causal_conv1d, backend="reference")
    monkeypatch.setitem(sys.modules, "causal_conv1d", peer)
    t = replace(BASE, reverse=reverse, initial_state=initial_state).arguments(torch.float32)
    assert backends("causal_conv1d", "cuda")["causal_conv1d"] is None
    call = table()["causal_conv1d"]["causal_conv1d"].call
    inputs = (t[name] for name in ("x", "weight", "bias", "initial_state"))
    torch.testing.assert_close(call(*inputs, True, reverse), causal_conv1d(**t))
    monkeypatch.setitem(sys.modules, "causal_conv1d", None)
    assert "does not import" in backends("causal_conv1d", "cuda")["causal_conv1d"]


@pytest.mark.skipif(_native.problem("simt") is not None, reason="make simt has not been run")
@pytest.mark.simt
def test_python_and_the_cuda_kernels_agree_on_the_most_taps():
    assert _native.simt().causal_conv1d_most_taps == _causal_conv1d._MOST_TAPS
    t = replace(BASE, width=32, initial_state=True).arguments(torch.float32)
    expected = run(CAUSAL_CONV1D, t, "reference")
    torch.testing.assert_close(run(CAUSAL_CONV1D, t, "simt"), expected, rtol=1e-4, atol=1e-4)
    t = replace(BASE, width=33).arguments(torch.float32)
    with pytest.raises(ValueError, match="too many taps"):
        causal_conv1d(**t, backend="simt")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("width", "dtype"), [(40, torch.float32), (4, torch.float64)])
def test_on_a_gpu_what_the_kernels_do_not_take_is_the_references(width, dtype):
    t = replace(BASE, width=width).arguments(dtype, "cuda")
    found, expected = (run(CAUSAL_CONV1D, t, backend) for backend in ("native", "reference"))
    torch.testing.assert_close(found, expected)


def test_without_steps_the_last_state_is_the_initial_one():
    t = replace(BASE, length=0, initial_state=True).arguments(torch.float32)
    out, last = causal_conv1d(**t, return_last_state=True)
    assert out.shape == (2, 20, 0)
    assert torch.equal(last, t["initial_state"])


def test_parameters_keep_their_type_where_signals_are_shorter():
    t = BASE.arguments(torch.float32)
    weight = t["weight"].clone().requires_grad_()
    out = causal_conv1d(t["x"].bfloat16(), weight, t["bias"], activation="silu")
    assert out.dtype == torch.bfloat16
    (gradient,) = torch.autograd.grad(out.sum(), weight)
    assert gradient.dtype == torch.float32
    expected = causal_conv1d(t["x"].bfloat16().float(), weight, t["bias"], activation="silu")
    torch.testing.assert_close(out, expected.bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": torch.zeros(2, 20)}, ValueError, r"x must have shape \(batch, dim, length\)"),
        ({"x": torch.zeros(2, 20, 37).int()}, TypeError, "x must be one of float32"),
        ({"weight": torch.zeros(20, 1, 4)}, ValueError, r"weight must have shape \(dim, width\)"),
        ({"weight": torch.zeros(19, 4)}, ValueError, r"weight .* = \(20, 4\), got \(19, 4\)"),
        ({"weight": torch.zeros(20, 0)}, ValueError, "at least one tap"),
        ({"bias": torch.zeros(21)}, ValueError, r"bias must have shape \(dim,\) = \(20,\)"),
        ({"bias": torch.zeros(20, device="meta")}, ValueError, "bias must be on cpu"),
        ({"activation": "gelu"}, ValueError, "activation must be 'silu' or None, got 'gelu'"),
        (
            {"initial_state": torch.zeros(2, 20, 4)},
            ValueError,
            r"initial_state .*\(batch, dim, width - 1\) = \(2, 20, 3\), got \(2, 20, 4\)",
        ),
    ],
)
def test_wrong_arguments_are_named(change, error, message):
    with pytest.raises(error, match=message):
        causal_conv1d(**{**BASE.arguments(torch.float32), **change})
