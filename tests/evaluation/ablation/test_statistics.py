"""Spread, paired tests and their correction, against hand-computed cases and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from motion_lab.evaluation.ablation.statistics import (
    detectable,
    holm,
    paired_difference,
    smallest_sign_p,
    spread,
)


def test_spread_is_the_sample_standard_deviation():
    assert spread([1.0, 2.0, 4.5]) == (2.5, pytest.approx(math.sqrt(6.5 / 2)), 3)
    assert spread([3.0])[0] == 3
    assert math.isnan(spread([3.0]).deviation)
    assert spread([]).seeds == 0


def test_difference_is_paired_by_seed():
    row, reference = {0: 1.0, 1: 5.0, 2: 9.0, 7: 100.0}, {2: 8.7, 1: 4.8, 0: 0.9, 4: -100.0}
    found = paired_difference(row, reference)
    # 0.1, 0.2, 0.3: mean 0.2, deviation 0.1, t = 0.2 / (0.1 / √3) = 2√3 with 2 degrees of freedom.
    assert found.seeds == 3
    assert found.mean == pytest.approx(0.2)
    assert found.p == pytest.approx(2 * stats.t.sf(2 * math.sqrt(3), 2))
    assert found.high - found.mean == pytest.approx(4.302653 * 0.1 / math.sqrt(3))
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_difference_agrees_with_scipys_paired_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6))
    found = paired_difference(dict(enumerate(a)), dict(enumerate(b)))
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_one_seed_and_equal_differences_give_no_test():
    for row in ({0: 2.0}, {0: 2.0, 1: 2.0}):
        found = paired_difference(row, dict.fromkeys(row, 1.0))
        assert found.mean == 1.0
        assert math.isnan(found.p)
    assert paired_difference({0: 1.0}, {1: 1.0}).seeds == 0


def test_holm_against_a_hand_computed_case():
    # Sorted 0.005·4 = 0.02, 0.01·3 = 0.03, 0.03·2 = 0.06, 0.04·1 → not below the one before.
    corrected = holm([0.01, 0.04, math.nan, 0.03, 0.005])
    assert corrected[:2] == pytest.approx([0.03, 0.06])
    assert math.isnan(corrected[2])
    assert corrected[3:] == pytest.approx([0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_what_few_seeds_can_show():
    assert detectable(3) == pytest.approx(4.302653 / math.sqrt(3))
    just = detectable(5) * np.std([1, 2, 3, 4, 5], ddof=1)
    shifted = np.array([1, 2, 3, 4, 5]) - 3 + just
    assert stats.ttest_1samp(shifted, 0).pvalue == pytest.approx(0.05)
    assert math.isinf(detectable(1))
    assert smallest_sign_p(3) == 0.25
