"""A mean over values that come in pieces."""

from __future__ import annotations

from torch import Tensor

from motion_lab.errors import UsageError


class Mean:
    """Mean of the numbers added, in float64; NaN stands for what could not be scored."""

    def __init__(self) -> None:
        self.count = 0
        self.dropped = 0
        self._sum = 0.0

    def add(self, values: Tensor) -> None:
        """Take in numbers of any shape."""
        values = values.detach().double()
        known = ~values.isnan()
        self.count += int(known.sum())
        self.dropped += int((~known).sum())
        self._sum += float(values[known].sum())

    def value(self, name: str) -> float:
        """The mean; `name` is what to call the score in the error where there is nothing."""
        if not self.count:
            raise UsageError(
                f"{name} could not be measured: of {self.dropped} tries none could be scored. "
                "Leave it out, or give videos that it can see a face and hear speech in."
            )
        return self._sum / self.count

    def scored(self, name: str, unit: str) -> dict[str, float]:
        """What a metric's ``compute`` returns of a single mean: it, and how many counted."""
        return {name: self.value(name), unit: self.count, f"dropped {unit}": self.dropped}
