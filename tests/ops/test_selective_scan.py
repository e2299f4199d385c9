"""The selective scan against its float64 reference, on every backend and device there is."""

import itertools
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motion_lab.ops import _native, selective_scan, selective_scan_step, use_backend
from motion_lab.ops import selective_scan as public

DIFFERENTIABLE = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")


@dataclass(frozen=True)
class Case:
    batch: int = 2
    dim: int = 20
    length: int = 37
    state: int = 5
    dtype: torch.dtype = torch.float32
    B: str = "time"  # "constant", "time", or a number of groups
    C: str = "time"
    D: bool = True
    z: bool = True
    delta_bias: bool = True
    delta_softplus: bool = True
    initial_state: bool = False
    reverse: bool = False
    bounds: tuple[int, ...] = ()
    layout: str = "time"  # which of u's dimensions is contiguous: "time", "channel" or "neither"

    def __str__(self):
        default = Case()
        return "-".join(
            f"{name}={value}".replace(" ", "").replace("torch.", "")
            for name, value in vars(self).items()
            if value != getattr(default, name)
        )

    def tensors(self, device="cpu", seed=0):
        """Keyword arguments of the scan."""
        generator = torch.Generator().manual_seed(seed)
        wide = torch.float64 if self.dtype == torch.float64 else torch.float32

        def normal(*shape, dtype=self.dtype):
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        def signal():
            if self.layout == "channel":
                return normal(self.batch, self.length, self.dim).transpose(1, 2)
            if self.layout == "neither":
                return normal(self.batch, self.dim, self.length * 3, 2)[:, :, 1::3, 1]
            return normal(self.batch, self.dim, self.length)

        def coefficient(kind):
            if kind == "constant":
                return normal(self.dim, self.state, dtype=wide)
            if kind == "time":
                return normal(self.batch, self.length, self.state).transpose(1, 2)
            return normal(self.batch, int(kind), self.state, self.length)

        def positive(step_sizes):  # else the state grows without bound
            return step_sizes if self.delta_softplus else step_sizes.abs()

        sequences = len(self.bounds) - 1 if self.bounds else self.batch
        found = {
            "u": signal(),
            "delta": 0.5 * positive(signal()),
            # Not near 0: a memory without end sums up terms that cancel, to float32's own noise.
            "A": -0.2 - torch.exp(normal(self.dim, self.state, dtype=wide)),
            "B": coefficient(self.B),
            "C": coefficient(self.C),
            "D": normal(self.dim, dtype=wide) if self.D else None,
            "z": signal() if self.z else None,
            "delta_bias": positive(normal(self.dim, dtype=wide)) if self.delta_bias else None,
            "initial_state": normal(sequences, self.dim, self.state, dtype=wide)
            if self.initial_state
            else None,
            "cu_seqlens": torch.tensor(self.bounds, dtype=torch.int32) if self.bounds else None,
        }
        return {name: t if t is None else t.to(device) for name, t in found.items()} | {
            "delta_softplus": self.delta_softplus,
            "reverse": self.reverse,
        }


def run(tensors, backend, *, grads=True):
    """The scan's outputs, and the gradients of a fixed random functional of both."""
    leaves = {
        name: t.detach().requires_grad_(grads) if name in DIFFERENTIABLE and t is not None else t
        for name, t in tensors.items()
    }
    out, last = selective_scan(**leaves, return_last_state=True, backend=backend)
    found = {"out": out.detach(), "last_state": last.detach()}
    if grads:
        generator = torch.Generator().manual_seed(1)
        seeds = [
            torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t)
            for t in (out, last)
        ]
        inputs = [n for n in DIFFERENTIABLE if leaves[n] is not None]
        gradients = torch.autograd.grad(
            (out, last), [leaves[n] for n in inputs], seeds, materialize_grads=True
        )
        found |= {f"d{name}": g for name, g in zip(inputs, gradients, strict=True)}
    return found


def widened(tensors):
    return {
        name: t.double() if isinstance(t, torch.Tensor) and t.is_floating_point() else t
        for name, t in tensors.items()
    }


def assert_as_right_as_the_reference(tensors, backend, *, grads=True):
    """FlashAttention's criterion: at most twice the error of the reference in that precision."""
    truth = run(widened(tensors), "reference", grads=grads)
    reference = run(tensors, "reference", grads=grads)
    ours = run(tensors, backend, grads=grads)
    assert ours.keys() == truth.keys()
    for name, expected in truth.items():
        assert ours[name].dtype == reference[name].dtype, name
        assert ours[name].shape == expected.shape, name
        scale = 1 + expected.abs().max()
        allowed = 2 * (reference[name].double() - expected).abs().max() + 1e-6 * scale
        error = (ours[name].double() - expected).abs().max()
        assert error <= allowed, f"{name}: error {error:.3g}, allowed {allowed:.3g}"


@pytest.fixture(autouse=True)
def poisoned_memory():
    """Fresh tensors hold NaN, so that an element that no kernel wrote is seen."""
    before = torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = before


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def isa(request):
    """Each instruction set that this machine has."""
    module = _native.cpu()
    best = module.isa()
    try:
        module.set_isa(request.param)
    except ValueError:
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    module.set_isa(best)


BASE = Case()
LOW = (torch.bfloat16, torch.float16)
CASES = [
    BASE,
    *(replace(BASE, dtype=dtype) for dtype in (*LOW, torch.float64)),
    *(replace(BASE, layout=layout) for layout in ("channel", "neither")),
    *(replace(BASE, dtype=dtype, layout="neither", reverse=True) for dtype in LOW),
    replace(BASE, z=False, D=False, delta_bias=False, delta_softplus=False),
    replace(BASE, z=False, initial_state=True),
    replace(BASE, reverse=True, initial_state=True),
    replace(BASE, B="constant"),
    replace(BASE, C="constant", dtype=torch.bfloat16),
    replace(BASE, B="constant", C="constant", initial_state=True),
    replace(BASE, B="4", C="4"),
    replace(BASE, B="20", C="20", batch=1),
    replace(BASE, dim=36, B="2", C="2"),
    replace(BASE, dim=36, B="constant", C="2"),
    replace(BASE, dim=9, B="3", C="3", dtype=torch.float64),
    replace(BASE, batch=1, bounds=(0, 5, 5, 37), initial_state=True),
    replace(BASE, batch=1, bounds=(0, 1, 36, 37), reverse=True, initial_state=True),
    replace(BASE, batch=1, length=150, bounds=(0, 64, 70, 150), B="2", C="2"),
    replace(BASE, length=1),
    replace(BASE, length=32),
    replace(BASE, length=33, batch=1, dim=1, state=1),
    replace(BASE, length=200, dim=3, state=17, initial_state=True),
    replace(BASE, dim=70, state=16, batch=1, length=64),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_native_scan_is_as_right_as_the_reference(case):
    assert_as_right_as_the_reference(case.tensors(), "native")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("grads", [False, True])
@pytest.mark.parametrize("case", [*CASES, replace(BASE, dim=3, length=1100)], ids=str)
def test_cuda_scan_is_as_right_as_the_reference(case, grads):
    assert_as_right_as_the_reference(case.tensors("cuda"), "native", grads=grads)


@pytest.mark.parametrize(
    "case",
    [BASE, replace(BASE, B="constant", C="4", dtype=torch.float16), replace(BASE, dim=70)],
    ids=str,
)
def test_every_instruction_set_is_as_right_as_the_reference(case, isa):
    assert_as_right_as_the_reference(case.tensors(), "native")


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_shape_layout_and_option_is_right(data):
    groups = data.draw(st.sampled_from([1, 2, 3]), label="groups")
    bounds = ()
    batch, length = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 70))
    if data.draw(st.booleans(), label="packed"):
        batch = 1
        cuts = data.draw(st.lists(st.integers(0, length), max_size=3))
        bounds = (0, *sorted(cuts), length)
    kinds = st.sampled_from(["constant", str(groups)])
    case = Case(
        batch=batch,
        dim=groups * data.draw(st.integers(1, 20)),
        length=length,
        state=data.draw(st.integers(1, 9)),
        dtype=data.draw(st.sampled_from([torch.float32, torch.float64, *LOW])),
        B=data.draw(kinds),
        C=data.draw(kinds),
        bounds=bounds,
        layout=data.draw(st.sampled_from(["time", "channel", "neither"])),
        **{
            name: data.draw(st.booleans(), label=name)
            for name in ("D", "z", "delta_bias", "delta_softplus", "initial_state", "reverse")
        },
    )
    assert_as_right_as_the_reference(case.tensors(), "native")


def test_reference_is_the_recurrence_written_out():
    """The definition, channel by channel in Python floats, for one small case."""
    case = replace(BASE, batch=1, dim=2, length=3, state=2, dtype=torch.float64, initial_state=True)
    t = case.tensors()
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


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_reverse_is_the_scan_of_the_flipped_signal(backend):
    t = replace(BASE, initial_state=True).tensors()
    flipped = {n: t[n].flip(-1) if n in ("u", "delta", "B", "C", "z") else t[n] for n in t}
    out, last = selective_scan(**{**t, "reverse": True}, return_last_state=True, backend=backend)
    expected, expected_last = selective_scan(**flipped, return_last_state=True, backend=backend)
    torch.testing.assert_close(out, expected.flip(-1))
    torch.testing.assert_close(last, expected_last)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_scan_cut_in_two_continues_from_its_last_state(backend):
    t = replace(BASE, length=50).tensors()

    def part(times):
        pieces = {n: t[n][..., times] if n in ("u", "delta", "B", "C", "z") else t[n] for n in t}
        return pieces

    whole, whole_last = selective_scan(**t, return_last_state=True, backend=backend)
    first, state = selective_scan(**part(slice(0, 20)), return_last_state=True, backend=backend)
    rest = {**part(slice(20, None)), "initial_state": state}
    second, last = selective_scan(**rest, return_last_state=True, backend=backend)
    torch.testing.assert_close(torch.cat([first, second], -1), whole)
    torch.testing.assert_close(last, whole_last)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_packed_sequences_do_not_see_each_other(backend):
    bounds = (0, 11, 11, 30, 37)
    t = replace(BASE, batch=1, bounds=bounds, initial_state=True).tensors()
    out, last = selective_scan(**t, return_last_state=True, backend=backend)
    for i, (start, end) in enumerate(itertools.pairwise(bounds)):
        alone = {n: t[n][..., start:end] if n in ("u", "delta", "B", "C", "z") else t[n] for n in t}
        alone |= {"initial_state": t["initial_state"][i : i + 1], "cu_seqlens": None}
        expected, expected_last = selective_scan(**alone, return_last_state=True, backend=backend)
        torch.testing.assert_close(out[..., start:end], expected)
        torch.testing.assert_close(last[i : i + 1], expected_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *LOW])
@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("groups", ["time", "4"])
def test_steps_equal_the_scan(dtype, backend, groups):
    t = replace(BASE, dtype=dtype, length=6, B=groups, C=groups, initial_state=True).tensors()
    out, last = selective_scan(**t, return_last_state=True, backend="reference")
    state = t["initial_state"].clone()
    for i in range(6):
        now = {n: t[n][..., i] for n in ("u", "delta", "B", "C", "z")}
        y = selective_scan_step(
            state,
            **now,
            **{n: t[n] for n in ("A", "D", "delta_bias", "delta_softplus")},
            backend=backend,
        )
        torch.testing.assert_close(y, out[..., i])
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize(
    "case",
    [
        Case(1, 3, 5, 2, initial_state=True),
        Case(1, 3, 6, 2, B="constant", C="3", initial_state=True, reverse=True),
        Case(1, 2, 6, 2, bounds=(0, 2, 6), initial_state=True, z=False),
    ],
    ids=str,
)
def test_gradients_are_those_of_finite_differences(case):
    t = replace(case, dtype=torch.float64).tensors()
    names = [n for n in DIFFERENTIABLE if t[n] is not None]
    fixed = {n: v for n, v in t.items() if n not in names}

    def function(*leaves):
        leaves = dict(zip(names, leaves, strict=True))
        return selective_scan(**leaves, **fixed, return_last_state=True, backend="native")

    assert torch.autograd.gradcheck(function, [t[n].requires_grad_() for n in names])


def test_a_second_derivative_is_refused():
    t = replace(BASE, D=False, z=False, delta_bias=False).tensors()
    u = t["u"].requires_grad_()
    (gradient,) = torch.autograd.grad(selective_scan(**t).square().sum(), u, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("threads", [1, 2])
def test_five_runs_are_equal_bit_by_bit(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        t = replace(BASE, dim=70, length=100, batch=3).tensors()
        first = run(t, "native")
        for _ in range(4):
            again = run(t, "native")
            assert all(torch.equal(first[name], again[name]) for name in first)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(0, 4, 5, 3), (2, 0, 5, 3), (2, 4, 0, 3), (2, 4, 5, 0)])
def test_empty_tensors_give_empty_or_plain_results(shape):
    batch, dim, length, state = shape
    case = Case(batch, dim, length, state, initial_state=True, B="1", C="1")
    found = run(case.tensors(), "native")
    expected = run(case.tensors(), "reference")
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])


def test_extreme_values_stay_finite_and_nan_is_passed_on():
    t = replace(BASE, z=True).tensors()
    t["delta"][:, 0] = 1e4
    t["delta"][:, 1] = -1e4
    t["z"][:, 2] = 1e4
    t["z"][:, 3] = -1e4
    assert_as_right_as_the_reference(t, "native")
    t["u"][0, 5, 3] = float("nan")
    out = selective_scan(**t, backend="native")
    assert torch.equal(out.isnan(), selective_scan(**t, backend="reference").isnan())


def test_ops_pass_opcheck():
    t = replace(BASE, dim=3, length=4, batch=1, initial_state=True).tensors()
    inputs = [
        t["u"], t["delta"], t["A"], t["B"][:, None], t["C"][:, None], t["D"], t["z"],
        t["delta_bias"], t["initial_state"], None,
    ]  # fmt: skip
    ops = torch.ops.motion_lab
    torch.library.opcheck(ops.selective_scan_forward, (*inputs, True, False, True))
    out, last, kept = ops.selective_scan_forward(*inputs, True, False, True)
    torch.library.opcheck(
        ops.selective_scan_backward, (*inputs, True, False, kept, out.clone(), last.clone())
    )
    step = [t["initial_state"], *(t[n][..., 0] for n in ("u", "delta")), t["A"]]
    step += [t["B"][:, None, :, 0], t["C"][:, None, :, 0], t["D"], t["z"][..., 0], None, True]
    torch.library.opcheck(ops.selective_scan_step, tuple(step))


def test_compiles_as_one_graph_with_gradients():
    t = replace(BASE, dim=4, length=9, initial_state=True).tensors()

    def function(u, delta, A, B, C, initial_state):
        out, last = selective_scan(
            u, delta, A, B, C, initial_state=initial_state, return_last_state=True
        )
        return (out * 2).sum() + last.sum()

    names = ("u", "delta", "A", "B", "C", "initial_state")
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    results = []
    for each in (function, compiled):
        leaves = [t[n].detach().clone().requires_grad_() for n in names]
        value = each(*leaves)
        results.append((value, *torch.autograd.grad(value, leaves)))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_autocast_mixes_types_and_keeps_the_signals():
    t = BASE.tensors()
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
    t = BASE.tensors()
    with use_backend("reference"):
        inside = selective_scan(**t)
    assert torch.equal(inside, selective_scan(**t, backend="reference"))
    with pytest.raises(ValueError, match=r"no backend 'fast'; it has native, reference"):
        selective_scan(**t, backend="fast")


def test_python_and_the_kernels_agree_on_the_distance_of_checkpoints():
    assert _native.cpu().selective_scan_chunk == public.__globals__["_CHUNK"]


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
        selective_scan(**{**BASE.tensors(), **change})


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("bounds", [(0, 20, 10, 37), (1, 37), (0, 36)])
def test_wrong_bounds_of_sequences_are_refused(backend, bounds):
    with pytest.raises(ValueError, match="cu_seqlens must rise from 0 to length"):
        selective_scan(**replace(BASE, batch=1, bounds=bounds).tensors(), backend=backend)


def test_the_step_names_wrong_arguments():
    t = BASE.tensors()
    now = {n: t[n][..., 0] for n in ("u", "delta", "B", "C")}
    with pytest.raises(ValueError, match=r"state must have shape \(batch, dim, state\)"):
        selective_scan_step(torch.zeros(2, 20, 4), A=t["A"], **now)
    with pytest.raises(TypeError, match="state must be one of float32"):
        selective_scan_step(torch.zeros(2, 20, 5).double(), A=t["A"], **now)
