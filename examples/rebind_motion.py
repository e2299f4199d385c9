"""Put a motion model beside a base model that differs from its own in appearance alone.

    python examples/rebind_motion.py OLD_CHECKPOINT NEW_BASE_FOLDER

A motion model fits one base file, whose SHA-256 it carries. When a base model is trained further
with `data.frozen=[motion_encoder, ...]`, its motion features stay the same, and so the motion model
of OLD_CHECKPOINT fits it too. Writes NEW_BASE_FOLDER/motion.safetensors, or refuses.
"""

import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from motion_lab.files import whole_file
from motion_lab.models.weights import BASE_FILE, MOTION_FILE, fingerprint, load_weights


def encoder_weights(folder: Path) -> dict[str, torch.Tensor]:
    state, _, _ = load_weights(folder / BASE_FILE)
    return {name: w for name, w in state.items() if name.startswith("motion_encoder.")}


def main(old: Path, new: Path) -> None:
    before, after = encoder_weights(old), encoder_weights(new)
    same = before.keys() == after.keys()
    if not same or not all(torch.equal(before[name], after[name]) for name in before):
        sys.exit(f"{new} encodes motion otherwise than {old}: train a motion model for it.")
    with safe_open(old / MOTION_FILE, framework="pt") as file:
        facts = {**file.metadata(), "base_sha256": fingerprint(new / BASE_FILE)}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    with whole_file(new / MOTION_FILE) as unfinished:
        save_file(tensors, unfinished, facts)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
