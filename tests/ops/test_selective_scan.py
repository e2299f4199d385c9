"""What the selective scan means; that its kernels compute it is test_battery.py's to show."""

from dataclasses import replace

import pytest
import torch

from cases.op import (
    CPU,
    CUDA,
    SIMT,
    assert_close_enough,
    assert_nearly_same,
    assert_right,
    moved,
    run,
    widened,
)
from cases.selective_scan import BASE, CASES, SELECTIVE_SCAN
from motion_lab.ops import (
    _native,
    _native_selective_scan,
    selective_scan,
    selective_scan_step,
    use_backend,
)


def test_reference_is_the_recurrence_written_out():
    """The definition, channel by channel in Python floats, for one small case."""
    case = replace(BASE, batch=1, dim=2, length=3, state=2, initial_state=True)
    t = case.arguments(torch.float64)
    out, last = selective_scan(**t, return_last_state=True, backend="reference")
    for c in range(2):
        h = t["initial_state"][0, c].clone()
        for i in range(3):
            d = torch.log1p(torch.exp(t["delta"][0, c, i] + t["delta_bias"][c]))
            h = torch.exp(d * t["A"][c]) * h + d * t["B"][0, :, i] * t["u"][0, c, i]
            y = (t["C"][0, :, i] * h).sum() + t["D"][c] * t["u"][0, c, i]
            y = y * t["z"][0, c, i] / (1 + torch.exp(-t["z"][0, c, i]))
            torch.testing.assert_close(out[0, c, i], y)
        torch.testing.assert_close(last[0, c], h)


@pytest.mark.parametrize(
    ("target", "length"),
    [
        pytest.param(t, n, id=t.name, marks=t.marks("selective_scan"))
        for t, n in [(SIMT, 5), (CUDA, 70)]
    ],
)
def test_from_8192_channels_on_a_lane_of_the_forward_has_two_states(target, length):
    """Too many for simt to run the backward over, which knows no such number."""
    case = replace(BASE, batch=1, dim=8192, length=length, state=17, initial_state=True)
    found, expected = (
        run(SELECTIVE_SCAN, case.arguments(torch.float32, t.device), t.backend, gradients=False)
        for t in (target, CPU)
    )
    assert_nearly_same(moved(found, "cpu"), expected)


def test_without_steps_the_last_state_is_the_initial_one():
    t = replace(BASE, length=0, initial_state=True).arguments(torch.float32)
    state = t["initial_state"].requires_grad_()
    out, last = selective_scan(**t, return_last_state=True)
    assert out.shape == (2, 20, 0)
    assert torch.equal(last, state)
    (gradient,) = torch.autograd.grad(last.sum(), state)
    assert torch.equal(gradient, torch.ones_like(state))


def test_without_states_only_the_skip_and_the_gate_are_left():
    t = replace(BASE, state=0).arguments(torch.float32)
    expected = t["D"][:, None] * t["u"] * torch.nn.functional.silu(t["z"])
    torch.testing.assert_close(selective_scan(**t), expected)


def test_the_step_updates_a_part_of_a_larger_memory_in_place():
    t = replace(BASE, length=1, initial_state=True).arguments(torch.float32)
    options = {n: t[n] for n in ("A", "D", "delta_bias", "delta_softplus")}
    now = {n: t[n][..., 0] for n in ("u", "delta", "B", "C", "z")}
    expected = t["initial_state"].clone()
    out = selective_scan_step(expected, **now, **options)
    memory = torch.full((2, 5, 3, 20), 7.0)
    memory[:, :, 1] = t["initial_state"].mT
    found = selective_scan_step(memory[:, :, 1].mT, **now, **options)
    torch.testing.assert_close(found, out)
    torch.testing.assert_close(memory[:, :, 1].mT, expected)
    assert (memory[:, :, [0, 2]] == 7).all()


def test_a_memory_that_hardly_fades_is_as_right_as_the_reference(isa):
    assert_right(SELECTIVE_SCAN, CASES["a memory that hardly fades"], torch.float32)


def test_a_decay_is_the_exponential(isa):
    """A state of ones and one step without input leave exp(A): of every size, among neighbours of
    its own size alone, and beside such as no float32 can hold."""
    inside = torch.cat([torch.linspace(-87.3, 88.3, 3000), torch.linspace(-1, 1, 999)])
    ends = {-torch.inf: 0, -1e30: 0, -100: 0, 90: torch.inf, torch.inf: torch.inf}
    beside = torch.tensor([*ends, torch.nan]).expand(999, -1).flatten()[:999]
    for A in (inside, torch.stack([inside[-999:], beside], dim=1).flatten()):
        ones, zeros = torch.ones(1, len(A), 1), torch.zeros(1, 1, 1)
        found = selective_scan(
            ones, ones, A[:, None], zeros, zeros + 1, initial_state=ones, backend="native"
        ).flatten()
        held = (A >= -87.3) & (A <= 88.3)
        truth = A[held].double().exp()
        # A log2(e), rounded, is off by half a unit.
        assert ((found[held] / truth - 1).abs() <= 2e-7 + 1.2e-7 * A[held].abs()).all()
    assert found[A.isnan()].isnan().all()
    for end, expected in ends.items():
        at_end = found[end == A]  # instead of 0 it may be the smallest normal number
        assert ((at_end >= expected) & (at_end <= expected + 2.0**-126)).all()


def test_a_channel_does_not_depend_on_its_neighbours(isa):
    t = BASE.arguments(torch.float32)
    expected = selective_scan(**t, backend="native")
    t["A"][0] = -1e4
    assert torch.equal(selective_scan(**t, backend="native")[:, 1:], expected[:, 1:])


def test_the_most_negative_gate_is_shut(isa):
    t = BASE.arguments(torch.float32)
    t["z"] = torch.full_like(t["z"], torch.finfo(torch.float32).min).requires_grad_()
    out = selective_scan(**t, backend="native")
    assert (out == 0).all()
    assert (torch.autograd.grad(out.sum(), t["z"])[0] == 0).all()


@pytest.mark.parametrize(
    ("backend", "length"),
    [("native", 20_000), pytest.param("simt", 4_000, marks=pytest.mark.simt)],
)
def test_sums_over_time_do_not_lose_digits_with_length(backend, length):
    """The gradients of D and delta_bias are as near to those of each step as torch's sums, and A's
    is as near to float64's as one rounding of each term."""
    case = replace(BASE, batch=1, dim=32 if backend == "native" else 8, length=length, state=1)
    t = replace(case, z=False).arguments(torch.float32)
    wanted = [t[name].requires_grad_() for name in ("D", "delta_bias", "delta", "A")]
    out = selective_scan(**t, backend=backend)
    grad = torch.randn_like(out)
    dD, dbias, ddelta, dA = torch.autograd.grad(out, wanted, grad)
    wide = widened(t)
    right_dA = torch.autograd.grad(selective_scan(**wide), wide["A"], grad.double())[0]

    def rms(x):
        return x.pow(2).mean().sqrt()

    for found, of_steps in ((dD, (grad.double() * t["u"].double())[0]), (dbias, ddelta[0])):
        right = of_steps.double().sum(dim=1)
        assert rms(found - right) <= 2 * rms(of_steps.float().sum(dim=1) - right)
    assert rms(dA - right_dA) <= 1e-6 * rms(right_dA)


def test_extreme_values_stay_finite_and_nan_is_passed_on():
    t = BASE.arguments(torch.float32)
    t["delta"][:, 0] = 1e4
    t["delta"][:, 1] = -1e4
    t["z"][:, 2] = 1e4
    t["z"][:, 3] = -1e4
    found, low, truth = (
        run(SELECTIVE_SCAN, *call)
        for call in ((t, "native"), (t, "reference"), (widened(t), "reference"))
    )
    assert_close_enough(found, low, truth)
    t["u"][0, 5, 3] = float("nan")
    out = selective_scan(**t, backend="native")
    assert torch.equal(out.isnan(), selective_scan(**t, backend="reference").isnan())


def test_autocast_mixes_types_and_keeps_the_signals():
    t = BASE.arguments(torch.float32)
    weight = torch.randn(20, 20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        u = torch.einsum("ij,bjl->bil", weight, t["u"])
        assert u.dtype == torch.bfloat16
        out = selective_scan(u, t["delta"], t["A"], t["B"], t["C"], delta_softplus=True)
    assert out.dtype == torch.bfloat16
    expected = selective_scan(u.double(), *(t[n] for n in ("delta", "A", "B", "C")),
                              delta_softplus=True, backend="reference")  # fmt: skip
    torch.testing.assert_close(out.double(), expected, rtol=2e-2, atol=2e-2)


def test_a_chosen_backend_is_used_and_an_unknown_one_refused():
    t = BASE.arguments(torch.float32)
    with use_backend("reference"):
        inside = selective_scan(**t)
    assert torch.equal(inside, selective_scan(**t, backend="reference"))
    with pytest.raises(ValueError, match=r"no backend 'fast'; it has native, reference"):
        selective_scan(**t, backend="fast")


def test_python_and_the_kernels_agree_on_the_distance_of_checkpoints():
    assert _native.cpu().selective_scan_chunk == _native_selective_scan.CHUNK


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_float64_is_the_references():
    t = BASE.arguments(torch.float64, "cuda")
    found, expected = (run(SELECTIVE_SCAN, t, backend) for backend in ("native", "reference"))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"u": torch.zeros(2, 20)}, ValueError, r"u must have shape \(batch, dim, length\)"),
        ({"u": 3}, TypeError, "u must be a tensor, got int"),
        ({"u": torch.zeros(2, 20, 37, dtype=torch.int32)}, TypeError, "u must be one of float32"),
        ({"delta": torch.zeros(2, 20, 36)}, ValueError, r"delta .* = \(2, 20, 37\), got"),
        ({"A": torch.zeros(19, 5)}, ValueError, r"A .* = \(20, 5\), got \(19, 5\)"),
        ({"B": torch.zeros(2, 6, 37)}, ValueError, r"B .* = \(2, 5, 37\), got \(2, 6, 37\)"),
        ({"B": torch.zeros(2, 3, 5, 37)}, ValueError, "multiple of the groups of B and C"),
        ({"C": torch.zeros(2, 2, 5, 37)}, ValueError, r"C .* = \(2, 1, 5, 37\)"),
        (
            {"B": torch.zeros(2, 2, 5, 37), "C": torch.zeros(2, 5, 37)},
            ValueError,
            r"C must have .* as many groups as B, 2, got \(2, 5, 37\)",
        ),
        ({"D": torch.zeros(21)}, ValueError, r"D must have shape \(dim,\) = \(20,\)"),
        ({"delta_bias": torch.zeros(20, device="meta")}, ValueError, "delta_bias must be on cpu"),
        ({"initial_state": torch.zeros(1, 20, 5)}, ValueError, "initial_state must have shape"),
        ({"cu_seqlens": torch.tensor([0, 37])}, TypeError, "cu_seqlens must be one of int32"),
        ({"cu_seqlens": torch.tensor([0, 37]).int()}, ValueError, "a batch of 1"),
    ],
)
def test_wrong_arguments_are_named(change, error, message):
    with pytest.raises(error, match=message):
        selective_scan(**{**BASE.arguments(torch.float32), **change})


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("bounds", [(0, 20, 10, 37), (1, 37), (0, 36)])
def test_wrong_bounds_of_sequences_are_refused(backend, bounds):
    case = replace(BASE, batch=1, bounds=bounds)
    with pytest.raises(ValueError, match="cu_seqlens must rise from 0 to length"):
        selective_scan(**case.arguments(torch.float32), backend=backend)


def test_the_step_names_wrong_arguments():
    t = BASE.arguments(torch.float32)
    now = {n: t[n][..., 0] for n in ("u", "delta", "B", "C")}
    with pytest.raises(ValueError, match=r"state must have shape \(batch, dim, state\)"):
        selective_scan_step(torch.zeros(2, 20, 4), A=t["A"], **now)
    with pytest.raises(TypeError, match="state must be one of float32"):
        selective_scan_step(torch.zeros(2, 20, 5).double(), A=t["A"], **now)
