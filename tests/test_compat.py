"""Drop-ins keep the signatures and results of what they replace."""

import inspect
import itertools

import pytest
import torch

from motion_lab.compat import selective_scan_fn

BATCH, DIM, STATE, LENGTH = 2, 6, 3, 7
LAYOUTS = {
    "constant": (DIM, STATE),
    "varying": (BATCH, STATE, LENGTH),
    "one group": (BATCH, 1, STATE, LENGTH),
    "groups": (BATCH, 2, STATE, LENGTH),
}


def arguments(B="varying", C="varying", dtype=torch.float32):
    """Types as mamba-ssm demands them: only what varies over time may be of 16 bits."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape, dtype=dtype):
        return torch.randn(shape, generator=generator).to(dtype)

    B, C = (
        normal(*LAYOUTS[name], dtype=torch.float32 if name == "constant" else dtype)
        for name in (B, C)
    )
    u, delta, z = (normal(BATCH, DIM, LENGTH) for _ in range(3))
    A, D, bias = (normal(*s, dtype=torch.float32) for s in [(DIM, STATE), (DIM,), (DIM,)])
    return {"u": u, "delta": delta, "A": -A.exp(), "B": B, "C": C, "D": D, "z": z} | {
        "delta_bias": bias
    }


def recurrence(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
    """Equations 2a and 2b of arXiv 2312.00752, A by zero-order hold, B by Euler; in numbers."""

    def at(M, b, d, n, t):
        if M.dim() == 2:
            return M[d, n].item()
        M = M if M.dim() == 4 else M[:, None]
        return M[b, d * M.shape[1] // DIM, n, t].item()

    out = torch.zeros(u.shape, dtype=torch.float64)
    last = torch.zeros(BATCH, DIM, STATE, dtype=torch.float64)
    for b, d in itertools.product(range(BATCH), range(DIM)):
        for t in range(LENGTH):
            x = u[b, d, t].double()
            step = delta[b, d, t].double()
            step = step if delta_bias is None else step + delta_bias[d]
            step = torch.log1p(torch.exp(step)) if delta_softplus else step
            for n in range(STATE):
                h = last[b, d, n]
                last[b, d, n] = torch.exp(step * A[d, n]) * h + step * at(B, b, d, n, t) * x
                out[b, d, t] += at(C, b, d, n, t) * last[b, d, n]
            if D is not None:
                out[b, d, t] += D[d] * x
            if z is not None:
                out[b, d, t] *= z[b, d, t] / (1 + torch.exp(-z[b, d, t].double()))
    return out, last


def test_selective_scan_fn_has_mambas_signature():
    parameters = inspect.signature(selective_scan_fn).parameters
    names = "u delta A B C D z delta_bias delta_softplus return_last_state"
    assert list(parameters) == names.split()
    assert [p.default for p in parameters.values()][5:] == [None, None, None, False, False]


@pytest.mark.parametrize(
    ("B", "C"),
    [
        *(pair for pair in itertools.product(LAYOUTS, LAYOUTS) if "groups" not in pair),
        *[("groups", "groups"), ("groups", "constant"), ("constant", "groups")],
    ],
)
def test_selective_scan_fn_is_the_papers_recurrence_for_every_layout(B, C):
    given = arguments(B, C)
    out, last = selective_scan_fn(*given.values(), True, True)
    expected, expected_last = recurrence(**given, delta_softplus=True)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(last.double(), expected_last, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("left_out", ["D", "z", "delta_bias", "delta_softplus"])
def test_selective_scan_fn_does_without_each_option(left_out):
    given = arguments("one group", "varying") | {"delta": torch.rand(BATCH, DIM, LENGTH)}
    given |= {"delta_softplus": True}
    del given[left_out]
    out = selective_scan_fn(**given)
    torch.testing.assert_close(out.double(), recurrence(**given)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gate", [True, False])
def test_selective_scan_fn_answers_in_us_type_and_with_a_float32_state(dtype, gate):
    given = arguments(dtype=dtype)
    if not gate:
        given["z"] = None
    out, last = selective_scan_fn(**given, delta_softplus=True, return_last_state=True)
    assert (out.dtype, last.dtype) == (dtype, torch.float32)
    assert (out.shape, last.shape) == ((BATCH, DIM, LENGTH), (BATCH, DIM, STATE))
    expected, expected_last = recurrence(**given, delta_softplus=True)
    # Inputs are exact, sums are in float32, so that one rounding of the result remains.
    rounding = torch.finfo(dtype).eps / 2
    torch.testing.assert_close(out.double(), expected, rtol=rounding, atol=1e-5)
    torch.testing.assert_close(last.double(), expected_last, rtol=1e-5, atol=1e-5)


def test_selective_scan_fn_refuses_complex_arguments_by_name():
    given = arguments()
    with pytest.raises(TypeError, match=r"A must be one of float32.* got complex64"):
        selective_scan_fn(**given | {"A": given["A"] + 0j})
    with pytest.raises(TypeError, match=r"B must be one of float32.* got complex64"):
        selective_scan_fn(**given | {"B": torch.randn(DIM, STATE) + 0j})
    # Real and imaginary parts by turns along time, as mamba-ssm takes them beside a complex A.
    interleaved = torch.randn(BATCH, STATE, 2 * LENGTH)
    with pytest.raises(ValueError, match=r"C must have shape .* got \(2, 3, 14\)"):
        selective_scan_fn(**given | {"C": interleaved})
