"""Sync, diversity and time of stage 2 by sampling steps and guidance, as a table in Markdown.

python examples/sampling_table.py [CHECKPOINT] > table.md
"""

import statistics
import sys
import time

import torch

from motion_lab.evaluation.lab import landmarks
from motion_lab.evaluation.metrics import build_metrics
from motion_lab.evaluation.motion import evaluate_motion
from motion_lab.evaluation.speakers import EvalSpeakers
from motion_lab.models.weights import load_base_model, load_motion_model

STEPS = (5, 10, 25, 50)
GUIDANCE = (1.0, 1.5, 2.5)
SENTENCES, SECONDS, SEED = 12, 4.0, 0
COLUMNS = ("jaw_r", "lse_d[lab]", "lips_agree", "div", "jitter_head", "jitter_mouth")


def main(checkpoint: str) -> None:
    device = torch.device("cpu")
    base, model = load_base_model(checkpoint, device), load_motion_model(checkpoint, device)
    locate = landmarks.load(device).track
    print("|", " | ".join(["steps", "guidance", *COLUMNS, "s for 10 s"]), "|")
    print("|", " | ".join(["---:"] * (len(COLUMNS) + 3)), "|")
    for steps in STEPS:
        for guidance in GUIDANCE:
            settings = {"steps": steps, "guidance": guidance}
            scores = evaluate_motion(
                base,
                model,
                EvalSpeakers(SENTENCES, SECONDS, SEED),
                locate,
                metrics=build_metrics(["lse[lab]"], device),
                **settings,
            )
            values = [f"{scores[name]:.3f}" for name in COLUMNS]
            taken = f"{seconds_of_ten(model, settings):.2f}"
            print("|", " | ".join([str(steps), str(guidance), *values, taken]), "|", flush=True)


@torch.inference_mode()
def seconds_of_ten(model, settings: dict[str, float]) -> float:
    """The median time that stage 2 takes for ten seconds of sound."""
    wave, source = torch.randn(1, 160_000) / 10, torch.zeros(1, model.motion_size)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        model.generate(wave, source, **settings)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "small")
