"""Stage-1 training: its batches, its losses, and that it learns to use motion."""

import shutil

import numpy as np
import pytest
import torch

from motion_lab.configs.loading import as_dict, load_config
from motion_lab.configs.schema import COMPONENTS
from motion_lab.data.synthetic.pairs import build_pairs
from motion_lab.data.synthetic.parameters import MOTION
from motion_lab.errors import UsageError
from motion_lab.models.weights import save_weights
from motion_lab.training.base import LOSSES, BaseTask, draw

WINDOWS = (
    "model.motion_encoder={name: deviation_windows, width: 8, dim: 32, depth: 1, "
    "view_size: 64, mouth_size: [16, 24], eye_size: [16, 16], normalise: false}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    build_pairs(folder / "train", 3, 64, 0)
    build_pairs(folder / "held_out", 1, 64, 1)
    return folder


def _task(folder, *settings: str) -> BaseTask:
    torch.manual_seed(0)
    settings = ["data.groups=3", "data.held_out_groups=1", f"data.folder={folder}", *settings]
    return BaseTask(load_config("base", "tiny", settings), torch.device("cpu"))


@pytest.fixture
def task(folder) -> BaseTask:
    return _task(folder)


def test_a_batch_follows_from_seed_and_step_alone(task):
    first, again, other = task.batch(5), task.batch(5), task.batch(6)
    for name in first:
        torch.testing.assert_close(first[name], again[name], rtol=0, atol=0)
    assert not torch.equal(first["source"], other["source"])


def test_another_person_drives_in_the_asked_share(task):
    rng = np.random.default_rng(0)
    own = draw(task.bank, rng, 64, 0.0)
    torch.testing.assert_close(own["driver"], own["target"], rtol=0, atol=0)
    crossed = draw(task.bank, rng, 64, 1.0)
    same = (crossed["driver"] == crossed["target"]).flatten(1).all(1)
    assert not same.any()


def test_a_resting_pair_has_no_displacement(task):
    batch = draw(task.bank, np.random.default_rng(0), 64, 0.5)
    rest = (batch["source"] == batch["target"]).flatten(1).all(1)
    assert 1 <= rest.sum() <= 20
    assert batch["displacement"][rest].abs().max() == 0
    assert batch["visible"][rest].min() == 1
    assert batch["motion"][rest].abs().max() == 0


def test_the_flow_loss_is_the_mean_distance_in_pixels_of_a_64_pixel_frame(task):
    batch = task.batch(0)
    source = task.model.encode_source(batch["source"])
    still = task.model.decode(source, torch.zeros(len(batch["source"]), 24))
    weight = torch.ones(len(batch["source"]), 1, 64, 64)
    batch["visible"] = torch.ones_like(batch["visible"])
    batch["displacement"] = torch.zeros_like(batch["displacement"])
    batch["displacement"][..., 0] = 3 / 32
    flow = task._geometry(still.fields, batch, weight)["flow"]
    assert float(flow.detach()) == pytest.approx(3.0, rel=1e-3)


def test_training_lowers_the_losses_and_moves_the_source(task):
    optimizer = torch.optim.AdamW(
        [p for module in task.modules().values() for p in module.parameters()], 2e-3
    )
    batch = task.batch(0)
    history = []
    for step in range(25):
        loss, _ = task.loss(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
    assert history[-1] < 0.75 * history[0]
    for module in task.modules().values():
        module.eval()
    scores = task.validate()
    assert set(scores) >= {"psnr", "psnr_copy", "psnr_other_motion", "flow_px", "flow_px_zero"}
    assert all(np.isfinite(list(scores.values())))
    (picture,) = task.pictures().values()
    assert picture.shape == (3, 5 * 64, 6 * 64)
    assert picture.min() >= 0
    assert picture.max() <= 1


def test_frozen_components_keep_their_weights_and_statistics(folder, tmp_path):
    settings = ["data.groups=3", "data.held_out_groups=1", f"data.folder={folder}"]
    first = load_config("base", "tiny", settings)
    torch.manual_seed(1)
    start = BaseTask(first, torch.device("cpu")).model
    save_weights(tmp_path / "base.safetensors", start, as_dict(first))
    settings += [f"data.start={tmp_path}", "data.frozen=[encoder,motion_encoder]"]
    settings += ["data.motion_from=0", "data.appearance_from=0"]
    task = BaseTask(load_config("base", "tiny", settings), torch.device("cpu"))
    optimizer = torch.optim.SGD([p for p in task.model.parameters() if p.requires_grad], 0.1)
    task.model.train()
    loss, _ = task.loss(task.batch(0), 0)
    loss.backward()
    optimizer.step()
    old, new = start.state_dict(), task.model.state_dict()
    changed = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"depth", "motion_decoder", "renderer"}


def test_a_component_that_the_start_lacks_is_trained_alone(folder, tmp_path):
    """Details are drawn by a model that is finished otherwise."""
    finished = _task(folder, WINDOWS)
    config = load_config("base", "tiny", [WINDOWS, f"data.folder={folder}"])
    save_weights(tmp_path / "base.safetensors", finished.model, as_dict(config))
    others = set(COMPONENTS) - {"detail"}
    task = _task(
        folder,
        WINDOWS,
        "model.detail={name: windows, width: 4}",
        f"data.start={tmp_path}",
        f"data.frozen=[{', '.join(others)}]",
        "data.motion_from=0",
        "data.appearance_from=0",
        "training.losses={image: 1.0}",
    )
    new = task.model.state_dict()
    for name, value in finished.model.state_dict().items():
        assert torch.equal(new[name], value)
    loss, _ = task.loss(task.batch(0), 0)
    loss.backward()
    taught = {name for name, p in task.model.named_parameters() if p.grad is not None}
    assert taught == {name for name, _ in task.model.named_parameters() if "detail." in name}


@pytest.mark.parametrize(("frozen", "same"), [("[]", False), ("[motion_encoder]", True)])
def test_drivers_are_disturbed_for_who_learns_to_read_them(folder, frozen, same):
    task = _task(folder, f"data.frozen={frozen}", "data.cross_identity=0", "data.texture=0")
    batch = task.batch(0)
    assert torch.equal(batch["driver"], batch["target"]) == same


def test_a_start_of_another_shape_is_refused(folder, tmp_path):
    config = load_config("base", "tiny", [f"data.folder={folder}"])
    save_weights(tmp_path / "base.safetensors", _task(folder).model, as_dict(config))
    with pytest.raises(UsageError, match="weights of another model"):
        _task(folder, "model.renderer={name: mad, width: 8}", f"data.start={tmp_path}")


def test_a_component_that_is_not_there_cannot_be_frozen(folder):
    with pytest.raises(UsageError, match="the model has no detail"):
        _task(folder, "data.frozen=[detail]")


def test_every_loss_reaches_what_it_is_to_teach(folder):
    names = ", ".join(f"{name}: 1.0" for name in set(LOSSES) - {"perceptual"})
    task = _task(
        folder,
        f"training.losses={{{names}}}",
        WINDOWS,
        "data.motion_from=0",
        "data.appearance_from=0",
        "data.texture=0.5",
    )
    loss, parts = task.loss(task.batch(0), 0)
    assert set(parts) == set(LOSSES) - {"perceptual"}
    loss.backward()
    for module in task.modules().values():
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    "decoder", ["lmdd", "{name: lmdd, follow: true}", "{name: lmdd, attention: false, mask: false}"]
)
def test_mixed_precision_reaches_every_part(folder, decoder):
    settings = ["data.motion_from=0", "data.appearance_from=0", "data.critic_from=0"]
    weights = ", ".join(f"{name}: 1.0" for name in set(LOSSES) - {"perceptual", "places"})
    settings += [f"model.motion_decoder={decoder}", f"training.losses={{{weights}}}"]
    task = _task(folder, *settings)
    whole, _ = task.loss(task.batch(0), 0)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = task.loss(task.batch(0), 0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(whole.detach()), rel=0.05)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        batch = task.batch(1)
        assert task.model.eval()(batch["source"], batch["driver"]).image.isfinite().all()
    gradients = [p.grad for p in task.model.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients


def test_a_parameter_that_never_varies_costs_nothing(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "bank")
    motion = np.load(tmp_path / "bank" / "train" / "motion.npy", mmap_mode="r+")
    motion[..., MOTION.index("lip_press")] = 0
    motion.flush()
    task = _task(tmp_path / "bank")
    assert task.loss(task.batch(0), 0)[0].isfinite()


def test_the_critic_waits_for_its_step(folder):
    settings = ["data.appearance_from=0", "data.motion_from=0", "data.critic_from=7"]
    task = _task(folder, "training.losses={adversarial: 1, features: 1, critic: 1}", *settings)
    assert task.loss(task.batch(0), 6)[1].keys() == set()
    assert task.loss(task.batch(0), 7)[1].keys() == {"adversarial", "features", "critic"}


def test_a_critic_that_is_asked_but_not_trained_is_refused(folder):
    with pytest.raises(UsageError, match="give 'critic' a weight"):
        _task(folder, "training.losses={image: 1, adversarial: 1}")


def test_wide_pairs_are_of_two_free_poses(task):
    still = draw(task.bank, np.random.default_rng(3), 400, 0.0)
    wide = draw(task.bank, np.random.default_rng(3), 400, 0.0, 1.0)
    turn = [batch["motion"][:, :3].norm(dim=1) for batch in (still, wide)]
    assert turn[1].mean() > 1.3 * turn[0].mean()
    assert turn[1].min() > 0


def test_places_are_those_of_the_pictures(task):
    """The mean place of the pixels labelled lips and mouth, by hand."""
    batch = draw(task.bank, np.random.default_rng(1), 16, 0.0)
    mouth = torch.isin(batch["regions"], torch.tensor([4, 5], dtype=torch.uint8))
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    seen = 0
    for mask, place in zip(mouth, batch["driver_places"][:, 0], strict=True):
        if mask.sum() >= 12:
            seen += 1
            middle = torch.stack([x[mask], y[mask]], -1).float().mean(0)
            assert ((middle + 0.5) / 32 - 1 - place).norm() < 0.15
    assert seen > 4


def test_the_depth_loss_wants_the_nose_in_front_and_the_wall_at_the_back():
    depth = torch.zeros(1, 8, 8)
    depth[0, :4] = 7.0
    depth[0, 0, 0] = 6.2  # the nose, half a head nearer
    truth = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(3, 8, 8).clone()
    truth[:, :4] = torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    truth[:, 0, 0] = torch.tensor([1.0, 0.0, 0.0])
    assert float(BaseTask._depth([truth.unsqueeze(0)], depth)) == pytest.approx(0, abs=1e-6)
    level = torch.full((1, 3, 8, 8), 1 / 3)
    assert float(BaseTask._depth([level], depth)) == pytest.approx(33 / 64, abs=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.losses={immage: 1}", "no loss 'immage'"),
        ("training.losses={perceptual: 1}", "set data.perceptual"),
        ("training.losses={places: 1}", "does not search the frame"),
    ],
)
def test_a_loss_that_cannot_be_is_refused(folder, setting, message):
    with pytest.raises(UsageError, match=message):
        _task(folder, setting)


def test_recomputed_activations_give_the_same_gradients(folder):
    gradients = []
    for recompute in ("false", "true"):
        task = _task(
            folder,
            f"training.recompute={recompute}",
            "data.motion_from=0",
            "data.appearance_from=0",
        )
        loss, _ = task.loss(task.batch(0), 0)
        loss.backward()
        gradients.append({name: p.grad for name, p in task.model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


LMDD = "model.motion_decoder={name: lmdd, widths: [32, 24, 16], regions: 4, heads: 2"
CHOICES = {
    "without attention": [LMDD + ", attention: false}"],
    "without mask": [LMDD + ", mask: false}"],
    "without depth cues": ["model.depth=none"],
    "keypoint motion": [
        "model.motion_encoder={name: keypoints, view_size: 64}",
        "model.motion_decoder=first_order",
    ],
    "linear latent motion": ["model.motion_encoder={name: linear, view_size: 64}"],
}


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_every_choice_of_the_ablation_learns(folder, choice):
    task = _task(folder, "training.batch_size=4", *choice)
    parameters = [p for module in task.modules().values() for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, 2e-3)
    batch, history = task.batch(0), []
    for _ in range(10):
        loss, terms = task.loss(batch, 10**6)  # all of the curriculum
        assert set(terms) == set(task.weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
    assert history[-1] < 0.9 * history[0]


def test_bodies_train_by_all_that_is_known_of_them(tmp_path):
    task = _task(
        tmp_path,
        "data.world=bodies",
        "data.motion_from=0",
        "data.appearance_from=0",
        "data.region_weights={hands: 5, arms: 2}",
        "training.losses={parameters: 1, places: 1, flow: 1, depth: 1, image: 1}",
        WINDOWS[:-1] + ", face: 0.385}",
    )
    # the head's parameters, then x and y of shoulders, elbows, wrists and hands
    assert task.batch(0)["motion"].shape[1] == task.probe.out_features == len(MOTION) + 16
    total, found = task.loss(task.batch(0), 0)
    assert set(found) == {"parameters", "places", "flow", "depth", "image"}
    assert torch.isfinite(total)
    assert task.validate()["flow_px_zero"] > 0.3


@pytest.mark.parametrize("preset", ["gesture_small", "gesture_full"])
def test_presets_of_bodies_fit_together(preset):
    base, motion = load_config("base", preset), load_config("motion", preset)
    assert base.data.world == "bodies"
    assert base.model["motion_size"] == motion.model["motion_size"]


def test_a_world_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match=r"data\.world must be heads or bodies"):
        load_config("base", "tiny", ["data.world=hands"])
