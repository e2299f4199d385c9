"""The deviation image transformer, with windows that follow the eyes and the mouth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from motion_lab.components.blocks import ConvBlock, expected_positions, resize
from motion_lab.components.motion_encoders.deviation import TokenReader, tokeniser
from motion_lab.ops import grid_sample

# Half the width and height of a window, where the frame spans -1 to 1: what a feature of the face
# needs in a portrait crop, turned and tilted.
MOUTH, EYE = (0.30, 0.26), (0.17, 0.14)


class WindowedDeviation(TokenReader):
    """Frame (B, 3, H, W) in [0, 1] → MD (B, motion_size).

    Finds the mouth and both eyes in the frame at ``view_size``, looks at each through a small
    window at the frame's own size, and reads MD off the tokens of frame and windows, which know the
    places. In a window the head's motion is largely undone: what is left to tell there is the
    expression, which moves a few pixels of the whole frame.

    ``normalise`` as in
    :class:`~motion_lab.components.motion_encoders.deviation.DeviationTransformer`. ``face``: the
    size of faces, and of the windows with them, where that in a portrait crop is 1.
    """

    mouth_window: Tensor
    left_window: Tensor
    right_window: Tensor

    def __init__(
        self,
        motion_size: int = 64,
        width: int = 16,
        dim: int = 96,
        depth: int = 2,
        heads: int = 4,
        view_size: int = 128,
        mouth_size: tuple[int, int] = (48, 64),
        eye_size: tuple[int, int] = (32, 40),
        read: int = 24,
        normalise: bool = True,
        face: float = 1.0,
    ) -> None:
        cells = [(h // 8) * (w // 8) for h, w in (mouth_size, eye_size, eye_size)]
        tokens = (view_size // 16) ** 2 + sum(cells)
        super().__init__(tokens, motion_size, dim, depth, heads, read, normalise)
        self.view_size = view_size
        self.stem = nn.Sequential(
            ConvBlock(3, width, 2), ConvBlock(width, 2 * width, 2), ConvBlock(2 * width, dim, 2)
        )
        self.whole = nn.Sequential(ConvBlock(dim, dim, 2), ConvBlock(dim, dim))
        self.frame, self.context = nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 1)
        self.find = nn.Sequential(ConvBlock(dim, 4 * width), nn.Conv2d(4 * width, 3, 1))
        self.mouth, self.eye = tokeniser(width, dim, 3), tokeniser(width, dim, 3)
        self.place = nn.Linear(6, dim)
        # The right eye is seen mirrored, so that both look alike to one network.
        mouth, left = (
            face * _window(size, half) for size, half in ((mouth_size, MOUTH), (eye_size, EYE))
        )
        self.register_buffer("mouth_window", mouth, persistent=False)
        self.register_buffer("left_window", left, persistent=False)
        self.register_buffer("right_window", left * torch.tensor([-1.0, 1.0]), persistent=False)

    def look(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """MD (B, motion_size), and the places of mouth, left and right eye, (B, 3, 2) in [-1, 1].

        For training that supervises the places with landmarks: no gradient reaches them through
        the windows, where it would be noise beside the landmarks'.
        """
        return self._read(image, supervised=True)

    def forward(self, image: Tensor) -> Tensor:
        return self._read(image, supervised=False)[0]

    def _read(self, image: Tensor, supervised: bool) -> tuple[Tensor, Tensor]:
        fine = self.stem(resize(image, (self.view_size, self.view_size)) * 2 - 1)
        coarse = self.whole(fine)
        heat = self.find(fine + resize(self.context(coarse), fine.shape[-2:]))
        places, _ = expected_positions(heat.float(), temperature=0.3)
        at = places.detach() if supervised else places
        mouth, left, right = at.unbind(1)
        maps = [
            self.frame(coarse) + self.place(at.flatten(1))[..., None, None],
            self.mouth(_through(self.mouth_window, image, mouth)),
            self.eye(_through(self.left_window, image, left)),
            self.eye(_through(self.right_window, image, right)),
        ]
        return self.read_motion(maps), places


def _window(size: tuple[int, int], half: tuple[float, float]) -> Tensor:
    """Points of a window around the origin, (h, w, 2), x then y."""
    height, width = size
    x = torch.linspace(-half[0], half[0], width)
    y = torch.linspace(-half[1], half[1], height)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def _through(window: Tensor, image: Tensor, place: Tensor) -> Tensor:
    grid = place[:, None, None, :] + window
    return grid_sample(image * 2 - 1, grid, padding_mode="border")
