"""Stage 1 as a whole: what its output must be whatever its weights are."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lab.components.blocks import pixel_centres
from motion_lab.components.protocols import MotionField
from motion_lab.errors import MotionLabError, UsageError
from motion_lab.models.base_model import BaseModel, carried, image_plane
from motion_lab.ops import warp

TINY = {
    "image_size": 64,
    "working_size": 64,
    "motion_size": 24,
    "encoder": {"name": "conv_volume", "channels": 4, "layers": 2, "width": 8, "blocks": 1},
    "motion_encoder": {
        "name": "deviation",
        "width": 8,
        "dim": 16,
        "depth": 1,
        "heads": 2,
        "view_size": 64,
        "crop_size": [16, 16],
        "read": 4,
    },
    "motion_decoder": {"name": "lmdd", "widths": [16, 16, 8], "regions": 3, "heads": 2},
    "renderer": {"name": "mad", "width": 16},
}


@pytest.fixture(scope="module")
def model() -> BaseModel:
    torch.manual_seed(0)
    model = BaseModel(**TINY)
    with torch.no_grad():  # gives the batch statistics their running values
        for _ in range(30):
            model(torch.rand(4, 3, 64, 64), torch.rand(4, 3, 64, 64))
    return model.eval()


@pytest.fixture
def portrait() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_a_zero_deviation_returns_the_source_exactly(model, portrait):
    source = model.encode_source(portrait)
    rendered = model.decode(source, torch.zeros(2, 24))
    torch.testing.assert_close(rendered.image, portrait, rtol=0, atol=1e-6)
    assert rendered.displacement.abs().max() == 0
    assert rendered.generated.abs().max() == 0


def test_the_driving_frame_moves_the_source(model, portrait):
    driving = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    rendered = model(portrait, driving)
    assert rendered.displacement.abs().mean() > 1e-4
    assert (rendered.image - portrait).abs().mean() > 1e-4
    assert rendered.image.min() >= 0
    assert rendered.image.max() <= 1


def test_a_portrait_larger_than_the_working_size_is_moved_at_its_own_size(model, portrait):
    large = torch.nn.functional.interpolate(portrait, scale_factor=2.0)
    source = model.encode_source(large)
    rendered = model.decode(source, torch.full((2, 24), 0.3))
    assert rendered.image.shape == large.shape
    still = model.decode(source, torch.zeros(2, 24)).image
    torch.testing.assert_close(still, large, rtol=0, atol=1e-6)


def test_one_source_serves_many_frames(model, portrait):
    source = model.encode_source(portrait[:1])
    deviations = torch.randn(3, 24, generator=torch.Generator().manual_seed(3))
    together = model.decode(source.expand(3), deviations).image
    apart = torch.cat([model.decode(source, d[None]).image for d in deviations])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_the_image_plane_is_the_weighted_mean_of_the_layers(model, portrait):
    source = model.encode_source(portrait)
    field = model.decode(source, torch.full((2, 24), 0.5)).fields[-1]
    by_hand = torch.zeros_like(field.displacement[:, 0, ..., :2])
    for layer in range(2):
        by_hand += field.weight[:, layer, ..., None] * field.displacement[:, layer, ..., :2]
    torch.testing.assert_close(image_plane(field), by_hand)


def test_frame_and_displacements_teach_every_parameter():
    torch.manual_seed(0)
    model = BaseModel(**TINY)
    rendered = model(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))
    loss = rendered.image.square().mean()
    for field in rendered.fields:
        loss = loss + image_plane(field).square().mean()
    loss.backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize(
    ("encoder", "decoder", "motion_size"),
    [("linear", "lmdd", 24), ("keypoints", "first_order", 24), ("deviation", "first_order", 24)],
)
def test_baselines_fit_behind_the_same_interfaces(encoder, decoder, motion_size, portrait):
    torch.manual_seed(0)
    settings = {
        **TINY,
        "motion_size": motion_size,
        "motion_encoder": {"name": encoder, "width": 8, "view_size": 64},
        "motion_decoder": decoder,
    }
    rendered = BaseModel(**settings)(portrait, portrait.flip(0))
    assert rendered.image.shape == portrait.shape
    assert torch.isfinite(rendered.image).all()


def test_the_ablation_without_depth_attention_and_mask_runs(portrait):
    settings = {
        **TINY,
        "depth": "none",
        "motion_decoder": {
            "name": "lmdd",
            "widths": [16, 16, 8],
            "attention": False,
            "mask": False,
        },
    }
    rendered = BaseModel(**settings)(portrait, portrait.flip(0))
    assert rendered.generated.abs().max() == 0


def test_a_level_that_follows_sees_the_appearance_already_moved(portrait):
    """Only levels after the first differ, and none where nothing moves."""
    torch.manual_seed(0)
    model = BaseModel(**TINY).eval()
    source = model.encode_source(portrait)
    motion = torch.randn(2, 24, generator=torch.Generator().manual_seed(5))
    appearances = []
    hook = model.motion_decoder.levels[1].reduce.register_forward_pre_hook(
        lambda _, inputs: appearances.append(inputs[0])
    )
    at_rest = model.decode(source, motion).fields
    model.motion_decoder.follow = True
    followed = model.decode(source, motion).fields
    model.decode(source, torch.zeros_like(motion))
    hook.remove()
    torch.testing.assert_close(followed[0].displacement, at_rest[0].displacement)
    assert not torch.equal(followed[1].displacement, at_rest[1].displacement)
    resting, moved, still = (x.unflatten(1, (-1, 2)) for x in appearances)
    torch.testing.assert_close(still, resting)
    field = at_rest[0].displacement.flatten(0, 1).movedim(-1, 1)
    field = F.interpolate(field, resting.shape[-2:], mode="bilinear")
    field = field.unflatten(0, (2, 2)).movedim(2, -1)
    torch.testing.assert_close(moved, warp(resting, field), rtol=1e-4, atol=1e-5)


DETAILED = {
    **TINY,
    "motion_encoder": {
        "name": "deviation_windows",
        "width": 8,
        "dim": 16,
        "depth": 1,
        "heads": 2,
        "view_size": 64,
        "mouth_size": [16, 16],
        "eye_size": [16, 16],
    },
    "detail": {"name": "windows", "width": 4},
}


def test_details_change_the_frame_and_leave_a_still_alone(portrait):
    torch.manual_seed(0)
    model = BaseModel(**DETAILED).eval()
    source = model.encode_source(portrait)
    motion = torch.randn(2, 24, generator=torch.Generator().manual_seed(5))
    assert torch.equal(model.decode(source, 0 * motion).image, portrait)
    drawn = model.decode(source, motion).image
    details, model.detail = model.detail, None
    plain = model.decode(source, motion)
    model.detail = details
    assert (drawn - plain.image).abs().max() > 1e-3
    one = model.encode_source(portrait[:1]).expand(2)
    torch.testing.assert_close(model.decode(one, motion).image[:1], drawn[:1], rtol=1e-4, atol=1e-5)


def test_details_need_an_encoder_that_finds_the_face():
    with pytest.raises(UsageError, match="deviation_windows"):
        BaseModel(**{**TINY, "detail": "windows"})


def test_places_go_where_a_turn_and_a_shift_carry_them():
    angle, shift = torch.tensor(0.3), torch.tensor([0.12, -0.07])
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    places = torch.tensor([[[0.1, 0.4], [-0.3, -0.2], [0.35, -0.15]]])
    cells = pixel_centres(64, 64, places)
    # A place p goes to turn p + shift; a cell q therefore comes from turnᵀ (q - shift).
    field = (cells - shift) @ turn - cells
    torch.testing.assert_close(
        carried(places, field[None]), places @ turn.T + shift, rtol=0, atol=2e-3
    )


class Cut(nn.Module):
    """A component whose first result lacks its last column."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, *inputs):
        def cut(found):
            if isinstance(found, Tensor):
                return found[..., :-1]
            if isinstance(found, MotionField):
                return found._replace(displacement=cut(found.displacement))
            return type(found)([cut(found[0]), *found[1:]])

        return cut(self.part(*inputs))


@pytest.mark.parametrize("part", ["depth", "motion_encoder", "motion_decoder", "renderer"])
def test_a_component_of_the_wrong_shape_is_named(part, portrait):
    model = BaseModel(**TINY).eval()
    setattr(model, part, Cut(getattr(model, part)))
    name = TINY[part]["name"] if part in TINY else "learned"
    with pytest.raises(MotionLabError, match=rf"{part}s? '{name}' gave .* where .* belongs"):
        model(portrait, portrait)
