"""A pruned network in its dense shape: what was removed is zero, and the same plan gives the pruned one back."""

import pytest
import torch
from zoo.topologies import BODIES, build

from deploy_prune.pruner import apply_plan
from deploy_prune.pruner.padding import pad_to_dense
from deploy_prune.search.prunable import Prunable

IMAGE = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def halved(prunable):
    return {name: -(-width // 2) for name, width in prunable.full_widths.items()}


def same(a, b):
    state = b.state_dict()
    return a.state_dict().keys() == state.keys() and all(torch.equal(t, state[n]) for n, t in a.state_dict().items())


def retrained(model):
    """Other values in every tensor, as training leaves them; running variances stay positive."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=generator))
    return model


@pytest.mark.parametrize("name", BODIES)
def test_the_plan_gives_the_pruned_network_back_whatever_it_has_learned(name):
    dense = build(name)
    prunable = Prunable.of(dense, IMAGE)
    plan = prunable.plan(halved(prunable))
    pruned = retrained(apply_plan(dense, plan))
    padded = pad_to_dense(pruned, dense, plan)
    assert same(apply_plan(padded, plan), pruned)
    assert torch.equal(apply_plan(padded, plan)(IMAGE), pruned(IMAGE))


@pytest.mark.parametrize("name", BODIES)
def test_a_second_search_takes_the_units_that_are_gone_first(name):
    """Its networks at the first plan's widths are the pruned one, and narrower ones hold nothing else."""
    dense = build(name)
    first = Prunable.of(dense, IMAGE)
    widths = halved(first)
    pruned = retrained(first.build(widths))
    padded = pad_to_dense(pruned, dense, first.plan(widths))
    second = Prunable.of(padded, IMAGE, start=widths)
    assert torch.equal(second.build(widths)(IMAGE), pruned(IMAGE))
    assert second.start_widths == widths
    assert all(choices[-1] == widths[name] for name, choices in second.menu_widths(2).items())


def test_by_hand():
    """Of three units the second goes; the others' weights come back doubled, and zeros stand where it was."""
    dense = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Linear(3, 1))
    dense[0].weight.data[:], dense[1].weight.data[:] = torch.tensor([[2.0], [0.5], [3.0]]), torch.tensor([[1.0, 1, 1]])
    prunable = Prunable.of(dense.eval(), torch.ones(1, 1))
    plan = prunable.plan({"0": 2})
    pruned = apply_plan(dense, plan)
    with torch.no_grad():
        pruned[0].weight.mul_(2)
    padded = pad_to_dense(pruned, dense, plan)
    assert padded[0].weight.flatten().tolist() == [4, 0, 6]
    assert padded[1].weight.flatten().tolist() == [1, 0, 1]
    assert dense[0].weight.flatten().tolist() == [2, 0.5, 3]
