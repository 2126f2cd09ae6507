"""When enough variants are known: networks whose time follows a law are foreseen, others are not."""

import numpy as np
import pytest

from deploy_prune.latency.sample import NodeSample, VariantSample
from deploy_prune.pipeline.profiling import BATCH, LEAST, is_foreseen

FULL = {"a": 64, "b": 64}


def samples(count, noise=0.0):
    """Three layers a, a to b, b; times affine in the widths, each variant off by ``noise`` (relative, alternating)."""
    rng = np.random.default_rng(0)
    found = []
    for n in range(count):
        a, b = (64, 64) if n == 0 else (int(w) for w in rng.integers(1, 5, 2) * 16)
        factor = 1 + noise * (-1) ** n
        nodes = (
            NodeSample("in", "Conv", 300, 100 * a, factor * (1e-4 + 1e-6 * a)),
            NodeSample("mid", "Conv", 100 * a, 100 * b, factor * (1e-4 + 1e-7 * a * b)),
            NodeSample("out", "Conv", 100 * b, 100, factor * (1e-4 + 1e-6 * b)),
        )
        found.append(VariantSample({"a": a, "b": b}, nodes, sum(node.time_s for node in nodes)))
    return found


def test_a_law_is_foreseen_once_there_are_enough_variants():
    known = samples(LEAST + BATCH)
    assert [n for n in range(len(known) + 1) if is_foreseen(known[:n], FULL)] == [LEAST, LEAST + BATCH]


@pytest.mark.parametrize("count", [LEAST, LEAST + BATCH])
def test_times_that_jump_are_not(count):
    assert not is_foreseen(samples(count, noise=0.1), FULL)
