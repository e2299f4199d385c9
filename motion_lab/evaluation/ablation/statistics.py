"""What several seeds say: means with their spread, and paired tests of differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05
"""Chance of error at which a difference is called one."""


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1; NaN of a single value) of ``seeds`` values."""

    mean: float
    deviation: float
    seeds: int


class Difference(NamedTuple):
    """A row's score minus the reference's, seed by seed.

    Attributes:
        mean: over the seeds that both have.
        low, high: 95 % confidence interval of the mean (Student's t); NaN below two seeds.
        p: of the two-sided paired t-test; NaN below two seeds, or where all differences are equal.
        seeds: how many.
    """

    mean: float
    low: float
    high: float
    p: float
    seeds: int


def spread(values: Sequence[float]) -> Spread:
    """Mean ± standard deviation."""
    if not values:
        return Spread(math.nan, math.nan, 0)
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(np.mean(values)), deviation, len(values))


def paired_difference(row: Mapping[int, float], reference: Mapping[int, float]) -> Difference:
    """Compare two rows' scores by seed; seeds that only one of them has count for nothing."""
    seeds = sorted(row.keys() & reference.keys())
    differences = np.array([row[seed] - reference[seed] for seed in seeds], dtype=np.float64)
    if len(seeds) < 2 or np.ptp(differences) == 0:
        mean = float(differences.mean()) if seeds else math.nan
        return Difference(mean, math.nan, math.nan, math.nan, len(seeds))
    test = stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(1 - LEVEL)
    return Difference(
        float(differences.mean()),
        float(interval.low),
        float(interval.high),
        float(test.pvalue),
        len(seeds),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values that hold for all tests together (Holm 1979); NaN, no test, stays and counts not."""
    tested = [p for p in p_values if not math.isnan(p)]
    corrected: dict[float, float] = {}
    largest = 0.0
    for rank, p in enumerate(sorted(tested)):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        corrected[p] = largest
    return [math.nan if math.isnan(p) else corrected[p] for p in p_values]


def detectable(seeds: int) -> float:
    """The smallest mean difference that reaches LEVEL, in standard deviations of the differences.

    Infinite below two seeds.
    """
    if seeds < 2:
        return math.inf
    return float(stats.t.ppf(1 - LEVEL / 2, seeds - 1) / math.sqrt(seeds))


def smallest_sign_p(seeds: int) -> float:
    """What a test that assumes nothing of the distribution (sign flips) can reach at best."""
    return min(1.0, 2.0 ** (1 - seeds))
