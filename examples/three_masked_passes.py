"""Audio attention of a talking head, over frame, face and lips: three masked passes, or one call.

    python examples/three_masked_passes.py [--side 64] [--frames 2] [--threads N]

Audio-driven diffusion models attend from the tokens of a latent image to those of the audio once
for the whole frame, once for the face and once for the lips, each time with other weights, and each
time for every token; what lies outside the mask is multiplied by zero afterwards.
`region_attention` takes the masks as regions instead: the three levels are three rows of one batch,
and a token outside its level's mask is in no region, has no key, and costs nothing.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lab.ops import RegionPlan, region_attention


def box(side: int, top: float, bottom: float, left: float, right: float) -> Tensor:
    """A mask (side * side) that is true inside a box, given in parts of the side."""
    rows = torch.arange(side) / side
    inside = (rows >= top) & (rows < bottom), (rows >= left) & (rows < right)
    return (inside[0][:, None] & inside[1]).flatten()


def three_masked_passes(q: Tensor, k: Tensor, v: Tensor, masks: Tensor) -> Tensor:
    """The usual way; q (level, frame, head, token, size), k and v alike, masks (level, token)."""
    passes = [F.scaled_dot_product_attention(*level) for level in zip(q, k, v, strict=True)]
    return torch.stack([x * mask[:, None] for x, mask in zip(passes, masks, strict=True)])


def one_call(q: Tensor, k: Tensor, v: Tensor, plan: RegionPlan) -> Tensor:
    """The same in one call; the plan serves every layer and step that has these masks."""
    levels, frames = q.shape[:2]
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    out = region_attention(q, k, v, plan.q_regions, plan.k_regions, plan=plan)
    return out.unflatten(0, (levels, frames))


def regions(masks: Tensor, frames: int, audio: int) -> RegionPlan:
    """Inside its level's mask a token is in region 0, as all of the audio is; outside, in none."""
    words = masks.long().repeat_interleave(frames, 0)
    return RegionPlan(words, torch.ones(len(words), audio, dtype=torch.int64))


def fastest(calls: list[Callable[[], Tensor]], rounds: int) -> list[float]:
    """The least time of each, in seconds; they take turns."""
    times = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            times[i] = min(times[i], time.perf_counter() - start)
    return times


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=64, help="of the latent image, in tokens")
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--audio", type=int, default=32, help="tokens of audio a frame")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    heads, size, tokens = 8, 40, options.side**2
    q = torch.randn(3, options.frames, heads, tokens, size)
    k, v = torch.randn(2, 3, options.frames, heads, options.audio, size)
    frame = torch.ones(tokens, dtype=torch.bool)
    face = box(options.side, 0.2, 0.8, 0.25, 0.75)
    lips = box(options.side, 0.6, 0.72, 0.4, 0.6)
    masks = torch.stack([frame, face, lips])
    plan = regions(masks, options.frames, options.audio)

    with torch.no_grad():
        expected, found = three_masked_passes(q, k, v, masks), one_call(q, k, v, plan)
        torch.testing.assert_close(found, expected)
        three, one = fastest(
            [lambda: three_masked_passes(q, k, v, masks), lambda: one_call(q, k, v, plan)],
            options.rounds,
        )
    used = float(masks.float().mean())
    print(f"{options.frames} frames of {tokens} tokens, {used:.0%} of them inside their mask")
    print(f"same output: largest difference {float((found - expected).abs().max()):.1e}")
    print(f"three masked passes {three * 1e3:.2f} ms, one call {one * 1e3:.2f} ms: ", end="")
    print(f"{three / one:.2f} times faster")


if __name__ == "__main__":
    main()
