from collections import Counter

import numpy as np
import pytest

from deploy_prune.errors import InputError
from deploy_prune.latency.sampling import sample_widths

MENU = {f"g{k}": tuple(range(16, 161, 16)) for k in range(30)}


def test_first_is_dense_and_same_seed_gives_same_variants():
    variants = sample_widths(MENU, 20, seed=7)
    assert variants[0] == dict.fromkeys(MENU, 160)
    assert variants == sample_widths(MENU, 20, seed=7)
    assert variants != sample_widths(MENU, 20, seed=8)


def test_each_group_meets_its_typical_widths_equally_often_and_narrow_ones_less():
    variants = sample_widths(MENU, 1 + 88, seed=0)[1:]
    for group in MENU:
        counts = Counter(v[group] for v in variants)
        assert {counts[w] for w in MENU[group][2:]} <= {9, 10, 11}
        assert {counts[w] for w in MENU[group][:2]} <= {3, 4, 5}


def test_totals_spread_and_groups_can_be_told_apart():
    variants = sample_widths(MENU, 60, seed=0)[1:]
    widths = np.array([list(v.values()) for v in variants])
    total = widths.sum(axis=1) / widths.sum(axis=1).max()
    assert total.min() < 0.6
    correlations = np.corrcoef(widths.T)[np.triu_indices(len(MENU), 1)]
    assert abs(correlations).max() < 0.75


def test_one_variant_is_the_dense_one():
    assert sample_widths({"a": (8, 16)}, 1) == ({"a": 16},)


def test_no_variants_are_refused():
    with pytest.raises(InputError, match="got 0 variants over 1 groups"):
        sample_widths({"a": (8, 16)}, 0)
