"""Where to compute: the ``--device`` option of every command."""

import torch

from motion_lab.errors import UsageError


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device called ``name``: ``auto`` (a GPU if there is one), ``cpu``, ``cuda[:n]``.

    Raises:
        UsageError: for another name, or a GPU that this machine or this torch does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name!r} is unknown; choose auto, cpu, cuda or cuda:<number>.")
    if device.type == "cuda":
        found = torch.cuda.device_count()
        if (device.index or 0) >= found:
            raise UsageError(
                f"--device {name}: torch {torch.__version__} finds {found or 'no'} CUDA device(s) "
                "on this machine. Leave --device out to take what there is, or give --device cpu."
            )
    return device
