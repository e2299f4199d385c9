"""The battery: what every op of the table must stand, on every target that it is written for."""

import itertools
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from cases import OPS
from cases.op import (
    CPU,
    CUDA,
    LAYOUTS,
    TARGETS,
    assert_nearly_same,
    assert_right,
    dense,
    random_gradients,
    run,
)


def for_every_op(targets=TARGETS, only=lambda op, *row: True, **choices):
    """Parametrizes a test with every op, target and combination of what the choices yield.

    A choice is called with the op and the target; ``only`` picks combinations. Targets that cannot
    run on this machine are skipped; the end of pytest's report counts them.
    """
    rows = []
    for op, target in itertools.product(OPS, targets):
        if not target.written_for(op.name):
            continue
        group = pytest.mark.xdist_group(f"{op.name} on {target.name}")
        marks = [*target.marks(op.name), group]
        for row in itertools.product(*(of(op, target) for of in choices.values())):
            if not only(op, *row):
                continue
            words = [op.name, target.name, *(str(x).removeprefix("torch.") for x in row)]
            rows.append(pytest.param(op, target, *row, marks=marks, id="-".join(words)))
    return pytest.mark.parametrize(("op", "target", *choices), rows)


def all_cases(op, target):
    return [name for name, case in op.cases.items() if target.name in case.targets]


def core_cases(op, target):
    return op.part(target).core


def small_cases(op, target):
    part = op.part(target)
    return op.small if part.gradients and torch.float64 in part.dtypes else ()


def all_dtypes(op, target):
    return op.part(target).dtypes


def kernels(op, target):
    return [name for name in op.library if target.has_kernel(name)]


def run_case(op, case, target, dtype=torch.float32, **options):
    gradients = op.part(target).gradients
    arguments = case.arguments(dtype, target.device)
    return run(op, arguments, target.backend, gradients=gradients, **options)


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        assert found[name].dtype == x.dtype, name
        assert torch.equal(found[name], x), name


@for_every_op(
    case=all_cases, dtype=all_dtypes, only=lambda op, case, dtype: dtype in op.cases[case].dtypes
)
def test_is_as_right_as_the_reference(op, target, case, dtype):
    assert_right(op, op.cases[case], dtype, target)


@for_every_op()
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_shape_layout_and_option_is_right(op, target, data):
    case = replace(data.draw(op.any_case), seed=data.draw(st.integers(0, 1000)))
    assert_right(op, case, data.draw(st.sampled_from(op.part(target).dtypes)), target)


class Recorded(TorchDispatchMode):
    """Notes the names of the ops that run inside it."""

    def __enter__(self):
        self.names = set()
        super().__enter__()
        return self.names

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.name().partition(".")[0])
        return function(*args, **kwargs or {})


@for_every_op(dtype=all_dtypes)
def test_runs_every_kernel_that_the_target_has(op, target, dtype):
    """Else the reference would be compared with itself, or a part be left out that is there."""
    with Recorded() as names:
        run_case(op, op.cases[op.part(target).core[0]], target, dtype)
    wanted = {f"{target.namespace}::{name}" for name in kernels(op, target)}
    assert wanted
    assert wanted <= names


@for_every_op(case=core_cases, layout=lambda op, target: [*LAYOUTS][1:])
def test_strides_change_nothing(op, target, case, layout):
    exact = target is CPU and case in op.same_bits
    same = assert_same_bits if exact else assert_nearly_same
    options = {"gradients": op.part(target).gradients}
    both, first, second = (layout,), (layout, "plain"), ("plain", layout)
    for dtype, layouts in (
        *itertools.product((torch.float32,), (both, first, second)),
        (torch.bfloat16, both),
    ):
        strided = replace(op.cases[case], layouts=layouts).arguments(dtype, target.device)
        into = random_gradients(op.call(strided, target.backend), layouts)
        plain = [x.contiguous() for x in into]
        found = run(op, strided, target.backend, into=into, **options)
        same(found, run(op, dense(strided), target.backend, into=plain, **options))


@for_every_op()
def test_gradients_may_be_asked_for_one_by_one_or_not_at_all(op, target):
    case = op.cases[op.part(target).core[0]]
    together, arguments = run_case(op, case, target), case.arguments(torch.float32, target.device)
    outputs = op.call(arguments, target.backend)
    assert not any(x.requires_grad for x in outputs.values())
    assert_same_bits(outputs, {name: together[name] for name in outputs})
    into = random_gradients(outputs)
    for name in op.differentiable if op.part(target).gradients else ():
        if arguments[name] is not None:
            leaf = arguments[name].clone().requires_grad_()
            outputs = op.call({**arguments, name: leaf}, target.backend).values()
            # Not every output depends on every argument.
            pairs = [(x, g) for x, g in zip(outputs, into, strict=True) if x.requires_grad]
            (alone,) = torch.autograd.grad([x for x, _ in pairs], leaf, [g for _, g in pairs])
            assert_nearly_same({name: alone}, {name: together[f"d{name}"]})


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@for_every_op(case=core_cases, count=lambda op, target: (1, 2, 3) if target is CPU else (1,))
def test_five_runs_are_equal_bit_for_bit(op, target, case, count):
    case = op.cases[case]
    with threads(count):
        first = run_case(op, case, target)
        for _ in range(4):
            assert_same_bits(run_case(op, case, target), first)
        assert_right(op, case, torch.float32, target)


@for_every_op(targets=(CPU,), case=core_cases)
def test_every_instruction_set_is_as_right_as_the_reference(op, target, case, isa):
    for dtype in op.part(target).dtypes:
        assert_right(op, op.cases[case], dtype, target)
    other = replace(op.cases[case], layouts=("channels last",))
    assert_right(op, other, torch.float32, target)


def leaves_and_function(op, case, target):
    """A case in float64 as gradcheck takes it."""
    arguments = op.small[case].arguments(torch.float64, target.device)
    names = [name for name in op.differentiable if arguments[name] is not None]

    def function(*leaves):
        changed = dict(zip(names, leaves, strict=True))
        return tuple(op.call({**arguments, **changed}, target.backend).values())

    return [arguments[name].requires_grad_() for name in names], function


@for_every_op(case=small_cases)
def test_gradients_are_those_of_finite_differences(op, target, case):
    leaves, function = leaves_and_function(op, case, target)
    assert torch.autograd.gradcheck(function, leaves)


@for_every_op(case=small_cases)
def test_second_derivatives_are_those_of_finite_differences_or_refused(op, target, case):
    leaves, function = leaves_and_function(op, case, target)
    if op.twice_differentiable:
        assert torch.autograd.gradgradcheck(function, leaves)
        return
    outputs = function(*leaves)
    value = sum(x.square().sum() for x in outputs)
    (first,) = torch.autograd.grad(value, leaves[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@for_every_op(name=kernels)
def test_library_ops_pass_opcheck(op, target, name):
    overload = getattr(target.ops, name).default
    for inputs in op.library[name](target, op.twins.arguments(torch.float32, target.device)):
        torch.library.opcheck(overload, inputs)
    shapes_and_strides = ("test_schema", "test_faketensor")
    for case, layout in itertools.product(op.part(target).core, ("plain", "channels last")):
        case = replace(op.cases[case], layouts=(layout,))
        for inputs in op.library[name](target, case.arguments(torch.float32, target.device)):
            torch.library.opcheck(overload, inputs, test_utils=shapes_and_strides)


def compiled(op):
    torch._dynamo.reset()
    return torch.compile(op.call, fullgraph=True, backend="aot_eager")


@for_every_op()
def test_compiles_as_one_graph_forward_and_backward(op, target):
    case = op.cases[op.part(target).core[0]]
    found = run_case(op, case, target, call=compiled(op))
    assert_nearly_same(found, run_case(op, case, target))


@for_every_op()
def test_compiles_where_one_tensor_is_given_twice(op, target):
    arguments = op.twins.arguments(torch.float32, target.device)
    differentiable = op.differentiable if op.part(target).gradients else ()

    def results(call):
        shared, doubled = {}, dict(arguments)
        for name, x in arguments.items():
            if torch.is_tensor(x):
                doubled[name] = leaf = shared.setdefault((x.shape, x.dtype), x.clone())
                leaf.requires_grad_(leaf.requires_grad or name in differentiable)
        assert len(shared) < sum(map(torch.is_tensor, arguments.values()))
        outputs = call(doubled, target.backend)
        leaves = [x for x in shared.values() if x.requires_grad]
        into = random_gradients(outputs)
        gradients = leaves and torch.autograd.grad(list(outputs.values()), leaves, into)
        return {name: x.detach() for name, x in outputs.items()} | dict(enumerate(gradients))

    assert_nearly_same(results(compiled(op)), results(op.call))


@for_every_op(targets=(CUDA,), case=core_cases)
def test_a_cuda_graph_replays_it_with_new_values_in_the_same_memory(op, target, case):
    arguments = op.cases[case].arguments(torch.float32, target.device)
    into = random_gradients(op.call(arguments, target.backend))

    def step():
        gradients = op.part(target).gradients
        return run(op, arguments, target.backend, gradients=gradients, into=into)

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    for name, x in replace(op.cases[case], seed=1).arguments(torch.float32, target.device).items():
        if torch.is_tensor(x):
            arguments[name].copy_(x)
    graph.replay()
    assert_same_bits(found, step())
