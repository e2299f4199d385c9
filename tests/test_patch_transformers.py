"""Models of transformers give the same with and without our scan, and are as before after undo."""

import copy
import importlib
import sys

import pytest
import torch

from motion_lab import compat
from motion_lab.compat import patch_transformers

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

BASE = {"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2}
HYBRID = {
    **BASE,
    "num_hidden_layers": 4,
    "intermediate_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
}
MODELS = {
    "mamba": ("Mamba", {**BASE}),
    "mamba-odd": (
        "Mamba",
        {**BASE, "hidden_size": 21, "state_size": 5, "expand": 3, "conv_kernel": 2}
        | {"time_step_rank": 7, "use_bias": True, "use_conv_bias": False},
    ),
    "mamba-one-state": (
        "Mamba",
        {**BASE, "state_size": 1, "expand": 1, "conv_kernel": 5, "residual_in_fp32": False}
        | {"hidden_act": "gelu"},
    ),
    "falcon": ("FalconMamba", {**BASE, "state_size": 9, "use_bias": True}),
    "jamba": (
        "Jamba",
        {**HYBRID, "mamba_d_state": 6, "mamba_d_conv": 3, "mamba_dt_rank": 5}
        | {"num_experts": 2, "mamba_proj_bias": True},
    ),
    "zamba": (
        "Zamba",
        {**HYBRID, "num_hidden_layers": 5, "mamba_d_state": 6, "n_mamba_heads": 2},
    ),
}
REPLACED = (
    *("mamba_selective_scan", "mamba_selective_state_update", "mamba_inner_fn"),
    *("causal_conv1d_fn", "causal_conv1d_update"),
)


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    name, settings = MODELS[request.param]
    config = getattr(transformers, f"{name}Config")(**settings)
    return getattr(transformers, f"{name}ForCausalLM")(config).eval()


def tokens():
    """Three rows of 19 tokens, two of them padded on the left."""
    ids = torch.randint(1, 40, (3, 19), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :6] = 0
    mask[2, :1] = 0
    return {"input_ids": ids, "attention_mask": mask}


def logits_and_gradients(model):
    model.train()
    model.zero_grad()
    logits = model(**tokens(), use_cache=False).logits
    logits.square().mean().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.eval()
    return {"logits": logits.detach()} | gradients


def generate(model, **options):
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": 39}
    settings |= {"output_logits": True, "return_dict_in_generate": True}
    made = model.generate(**tokens(), **settings | options)
    return made.sequences, torch.stack(made.logits)


def error(value, truth):
    return (value.double() - truth.double()).abs().max().item() / truth.abs().max().item()


def modules():
    names = ("mamba", "falcon_mamba", "jamba", "zamba")
    return [importlib.import_module(f"transformers.models.{n}.modeling_{n}") for n in names]


def replaced_functions():
    return [getattr(module, name, None) for module in modules() for name in REPLACED]


def test_logits_and_gradients_stay(model):
    before = logits_and_gradients(model)
    with patch_transformers():
        after = logits_and_gradients(model)
    assert after.keys() == before.keys()
    for name, expected in before.items():
        assert error(after[name], expected) < 1e-5, name


def test_bfloat16_comes_as_near_to_float32_as_before(model):
    model.bfloat16()
    truth = logits_and_gradients(copy.deepcopy(model).float())
    before = logits_and_gradients(model)
    with patch_transformers():
        after = logits_and_gradients(model)
    for name, exact in truth.items():
        assert after[name].dtype == before[name].dtype
        # One rounding is worth 0.004; small tensors come near by luck.
        assert error(after[name], exact) < 2 * error(before[name], exact) + 0.008, name


@pytest.mark.parametrize(
    ("dtype", "beams", "tolerance"), [(torch.float32, 2, 1e-5), (torch.bfloat16, 1, 0.02)]
)
def test_cached_generation_stays_step_by_step(model, dtype, beams, tolerance):
    model.to(dtype)
    sequences, logits = generate(model, num_beams=beams)
    with patch_transformers():
        patched_sequences, patched_logits = generate(model, num_beams=beams)
    assert torch.equal(patched_sequences, sequences)
    assert error(patched_logits, logits) < tolerance


def test_a_cache_begun_without_the_patch_goes_on_with_it(model):
    ids = tokens()["input_ids"]
    with torch.no_grad():
        expected = model(ids).logits[:, -1]
        cache = model(ids[:, :-1], use_cache=True)
        cache = getattr(cache, "cache_params", None) or cache.past_key_values
        name = "cache_params" if "mamba" in model.config.model_type else "past_key_values"
        with patch_transformers():
            found = model(ids[:, -1:], use_cache=True, **{name: cache}).logits[:, -1]
    assert error(found, expected) < 1e-5


def test_whole_sequences_and_steps_go_through_our_ops(monkeypatch):
    calls = []
    for name in ("causal_conv1d", "selective_scan", "selective_scan_step"):
        op = getattr(compat.ops, name)
        monkeypatch.setattr(
            compat.ops, name, lambda *a, op=op, name=name, **k: calls.append(name) or op(*a, **k)
        )
    model = transformers.MambaForCausalLM(transformers.MambaConfig(**BASE)).eval()
    with patch_transformers():
        generate(model, eos_token_id=None)
    whole, step = (["causal_conv1d", f"selective_scan{end}"] for end in ("", "_step"))
    assert calls == whole * 2 + step * 2 * 5
    calls.clear()
    generate(model)
    assert not calls


def test_a_step_that_records_gradients_gives_them(model):
    """Our step has none: transformers' own must run."""
    mixer = next(m for m in model.modules() if hasattr(m, "A_log"))
    module = importlib.import_module(type(mixer).__module__)
    step = module.mamba_selective_state_update
    with patch_transformers():
        patched = module.mamba_selective_state_update
    assert patched is not step
    gradients = []
    for function in (step, patched):
        generator = torch.Generator().manual_seed(2)
        state, u, dt, A, B, C, D, bias, z = (
            torch.randn(size, generator=generator)
            for size in [(2, 6, 4), (2, 6), (2, 6), (6, 4), (2, 4), (2, 4), (6,), (6,), (2, 6)]
        )
        u.requires_grad_()
        out = function(state, u, dt, -A.exp(), B, C, D, z=z, dt_bias=bias, dt_softplus=True)
        gradients.append(torch.autograd.grad(out.square().sum(), u)[0])
    assert torch.equal(*gradients)


def test_rows_packed_from_sequences_stay_with_their_own_convolution(monkeypatch):
    """`seq_idx`, which only causal-conv1d's kernel knows, must not be dropped by ours."""
    jamba = modules()[2]
    seen = []
    monkeypatch.setattr(
        jamba,
        "causal_conv1d_fn",
        lambda hidden_states, weight, bias=None, activation=None, **kwargs: seen.append(kwargs),
    )
    with patch_transformers():
        jamba.causal_conv1d_fn(torch.ones(1, 2, 3), torch.ones(2, 2), activation="silu", seq_idx=1)
    assert seen == [{"seq_idx": 1}]


def test_training_does_not_take_mamba_ssms_fused_block(monkeypatch):
    def fused(*_, **__):
        raise AssertionError("runs on a GPU only")

    monkeypatch.setattr(modules()[0], "mamba_inner_fn", fused)
    model = transformers.MambaForCausalLM(transformers.MambaConfig(**BASE))
    with patch_transformers():
        logits_and_gradients(model)


def test_undo_puts_the_very_objects_back():
    before = replaced_functions()
    undo = patch_transformers()
    assert not any(
        new is old for new, old in zip(replaced_functions(), before, strict=True) if old is not None
    )
    undo()
    assert replaced_functions() == before
    undo()
    assert replaced_functions() == before


def test_patching_twice_is_patching_once():
    before = replaced_functions()
    with patch_transformers():
        once = replaced_functions()
        with patch_transformers():
            assert replaced_functions() == once
        assert replaced_functions() == once
    assert replaced_functions() == before


@pytest.mark.parametrize("case", ["signature", "missing", "unused"])
def test_a_mixer_of_another_shape_is_refused_whole(monkeypatch, case):
    zamba = modules()[-1]
    if case == "signature":
        monkeypatch.setattr(zamba, "mamba_selective_scan", lambda u, delta, initial_state: None)
    elif case == "missing":
        monkeypatch.delattr(zamba, "mamba_selective_state_update")
    else:
        monkeypatch.setattr(zamba.ZambaMambaMixer, "forward", lambda self, x: x)
    before = replaced_functions()
    with pytest.raises(RuntimeError, match=r"tested with transformers 5\.16 to .*in .* zamba is"):
        patch_transformers()
    assert replaced_functions() == before


def test_without_transformers_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install 'transformers"):
        patch_transformers()
