"""A planted residual network: nodes vanish with their branch, whatever they are called and whatever decides them."""

from itertools import pairwise, product

import numpy as np
import pytest

from deploy_prune.latency.branches import branch_variants, find_owner, is_whole
from deploy_prune.latency.model import LatencyModel
from deploy_prune.latency.sample import NodeSample, VariantSample
from deploy_prune.latency.sampling import sample_widths

BRANCHES = {"one": ("a",), "two": ("b", "c"), "three": ("d",)}
FULL = {"stream": 64, "a": 64, "b": 32, "c": 96, "d": 48}
MENU = {"stream": (16, 32, 48, 64), "a": (0, 16, 32, 64), "b": (0, 16, 32), "c": (0, 32, 96), "d": (0, 16, 48)}


def nodes(widths):
    """(name, op, inputs, outputs, seconds): per branch a chain through its groups, a norm of the stream, and the sum.

    The layout conversion before each convolution of a branch has another number in every variant.
    """
    stream, number = widths["stream"], sum(widths.values())
    found = [("stem", "Conv", 300, 9 * stream, 2e-6 + 1e-8 * stream)]
    for name, groups in BRANCHES.items():
        if widths[groups[0]]:
            found.append((f"{name}/norm", "Norm", stream, stream, 1e-6 + 2e-8 * stream))
            chain = (stream, *(widths[g] for g in groups), stream)
            for k, (i, o) in enumerate(pairwise(chain)):
                number += 1
                found.append((f"reorder_{number}", "Reorder", i, i, 1e-9 * i))
                found.append((f"{name}/conv{k}", "Conv", i, o, 1e-6 + 1e-8 * i * o))
    return [*found, ("head", "Gemm", stream, 10, 1e-6 + 1e-9 * stream)]


def seconds(widths):
    return sum(node[-1] for node in nodes(widths)) + 1e-5


def sample(widths):
    return VariantSample(dict(widths), tuple(NodeSample(*node) for node in nodes(widths)), seconds(widths))


@pytest.fixture(scope="module")
def model():
    whole = sample_widths({g: [w for w in widths if w] for g, widths in MENU.items()}, 40, seed=1)
    return LatencyModel.fit([sample(w) for w in (*whole, *branch_variants(FULL, BRANCHES))], FULL, BRANCHES)


def test_variants_tell_the_branches_apart():
    """Branch 1 is left out of the first variant, 2 of the second, 3 of both."""
    gone = [{name for name, groups in BRANCHES.items() if v[groups[0]] == 0} for v in branch_variants(FULL, BRANCHES)]
    assert gone == [{"one", "three"}, {"two", "three"}]
    assert not any(is_whole(v) for v in branch_variants(FULL, BRANCHES)) and is_whole(FULL)
    assert branch_variants(FULL, {}) == ()


def test_owner_by_hand():
    variants = branch_variants(FULL, BRANCHES)
    assert find_owner([True, False], variants, BRANCHES) == ("a",)
    assert find_owner([False, True], variants, BRANCHES) == ("b", "c")
    assert find_owner([True, True], variants, BRANCHES) == ("d",)
    assert find_owner([False, False], variants, BRANCHES) == ()
    assert find_owner([True, False], [variants[0]] * 2, BRANCHES) == ()
    assert find_owner([True], variants[:1], BRANCHES) == ()  # one and three explain it alike


def test_every_node_of_a_branch_is_found(model):
    owner = {node.name: node.branch for node in model.nodes}
    for name, groups in BRANCHES.items():
        assert {owner[n] for n in owner if n.startswith((f"{name}/", f"Reorder after {name}/"))} == {groups}
    assert owner["stem"] == owner["head"] == ()


def test_latency_without_branches(model):
    for gone in product((False, True), repeat=3):
        zero = {g: 0 for out, groups in zip(gone, BRANCHES.values(), strict=True) if out for g in groups}
        for stream in MENU["stream"]:
            widths = {**FULL, **zero, "stream": stream}
            assert model.predict(widths).total_s == pytest.approx(seconds(widths), rel=0.02)


def test_tables_equal_predictions(model):
    tables = model.tables(MENU)
    chance = np.random.default_rng(0)
    for _ in range(60):
        widths = {g: int(chance.choice([w for w in choices if w])) for g, choices in MENU.items()}
        for groups in BRANCHES.values():
            if chance.random() < 0.4:
                widths |= dict.fromkeys(groups, 0)
        assert tables.cost_s(widths) == pytest.approx(model.predict(widths).total_s, rel=1e-9)


def test_without_variants_that_lack_it_a_branch_saves_only_what_its_width_does():
    whole = sample_widths({g: [w for w in widths if w] for g, widths in MENU.items()}, 40, seed=1)
    model = LatencyModel.fit([sample(w) for w in whole], FULL, BRANCHES)
    assert all(node.branch == () for node in model.nodes)
    assert model.predict({**FULL, "a": 0}).total_s > seconds({**FULL, "a": 0})
