"""The deviation image transformer: one frame becomes the latent motion feature MD."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock, resize


class TokenReader(nn.Module):
    """Reads MD off tokens, which a transformer has related; what deviation transformers share.

    Subclasses make the tokens and pass them to :meth:`read_motion`.
    """

    def __init__(
        self,
        tokens: int,
        motion_size: int,
        dim: int,
        depth: int,
        heads: int,
        read: int,
        normalise: bool,
    ) -> None:
        super().__init__()
        self.motion_size = motion_size
        self.position = nn.Parameter(0.02 * torch.randn(1, tokens, dim))
        layer = nn.TransformerEncoderLayer(
            dim, heads, 2 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.read = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, read))
        self.to_motion = nn.Linear(tokens * read, motion_size)
        self.normalise = nn.BatchNorm1d(motion_size, affine=False) if normalise else nn.Identity()

    def read_motion(self, maps: list[Tensor]) -> Tensor:
        """Maps [(B, dim, ·, ·)] with as many cells as there are tokens → (B, motion_size)."""
        x = torch.cat([each.flatten(2).transpose(1, 2) for each in maps], 1) + self.position
        x = self.read(self.transformer(x))
        return self.normalise(self.to_motion(x.flatten(1)))


# Where eyes and mouth of a cropped portrait can be over the whole range of head motion, as
# (top, bottom, left, right) fractions of the frame: they get tokens of their own, because at the
# scale of the whole frame an eye is a few pixels high.
EYES = (0.24, 0.60, 0.14, 0.86)
MOUTH = (0.46, 0.92, 0.20, 0.80)


class DeviationTransformer(TokenReader):
    """Frame (B, 3, H, W) in [0, 1] → MD (B, motion_size).

    Convolutions turn the whole frame, the eyes and the mouth into tokens, a transformer relates
    them, and a narrow linear layer reads MD. With ``normalise`` MD has the batch's statistics,
    without an affine part: trained without labels and with free scale, a model learns to ignore MD
    and shrinks it to nothing. Batches under about 16 are too noisy for that; there, let labels
    (the loss ``parameters``) keep MD alive instead.
    """

    def __init__(
        self,
        motion_size: int = 64,
        width: int = 16,
        dim: int = 96,
        depth: int = 2,
        heads: int = 4,
        view_size: int = 128,
        crop_size: tuple[int, int] = (48, 64),
        read: int = 24,
        normalise: bool = True,
    ) -> None:
        crop_tokens = (crop_size[0] // 8) * (crop_size[1] // 8)
        tokens = (view_size // 16) ** 2 + 2 * crop_tokens
        super().__init__(tokens, motion_size, dim, depth, heads, read, normalise)
        self.view_size, self.crop_size = view_size, tuple(crop_size)
        self.frame = tokeniser(width, dim, 4)
        self.eyes = tokeniser(width, dim, 3)
        self.mouth = tokeniser(width, dim, 3)

    def forward(self, image: Tensor) -> Tensor:
        view = resize(image, (self.view_size, self.view_size)) * 2 - 1
        return self.read_motion(
            [
                self.frame(view),
                self.eyes(resize(_crop(view, EYES), self.crop_size)),
                self.mouth(resize(_crop(view, MOUTH), self.crop_size)),
            ]
        )


def tokeniser(width: int, dim: int, halvings: int) -> nn.Sequential:
    """Pictures (B, 3, H, W) → tokens (B, dim, H / 2^halvings, W / 2^halvings)."""
    widths = [3, *(min(width * 2**i, dim) for i in range(halvings))]
    return nn.Sequential(
        *(ConvBlock(a, b, 2) for a, b in itertools.pairwise(widths)),
        nn.Conv2d(widths[-1], dim, 1),
    )


def _crop(image: Tensor, box: tuple[float, float, float, float]) -> Tensor:
    h, w = image.shape[-2:]
    top, bottom, left, right = box
    return image[..., round(top * h) : round(bottom * h), round(left * w) : round(right * w)]
