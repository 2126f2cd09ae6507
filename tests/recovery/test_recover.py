"""What helps is kept, what hurts is not, and nothing that was given is changed."""

import copy

import pytest
import torch
from recovery.parts import noise
from torch import nn
from zoo.topologies import build

from deploy_prune.errors import InputError, PlanError
from deploy_prune.importance import MagnitudeImportance
from deploy_prune.pruner.pruners import MagnitudePruner
from deploy_prune.recovery import recover


def pruned_topology(name, ratio=0.4):
    dense = build(name)
    model = copy.deepcopy(dense)
    images = noise(1, 3, 16, 16)
    pruner = MagnitudePruner(model, images, importance=MagnitudeImportance(), pruning_ratio=ratio)
    pruner.step()
    return dense, model.eval(), pruner.DG.plan


@torch.no_grad()
def output_error(model, dense, images):
    return float((model(images) - dense(images)).square().sum() / dense(images).square().sum())


@pytest.mark.parametrize(
    "name",
    ["Residual", "Concat", "ChunkWithSplit", "Grouped", "DepthMultiplier", "CalledTwice", "SqueezeExcite", "Shuffle",
     "OneDimensional", "Transposed", "FusedChunks", "WeightNorm", "TiedWeights", "Lstm"],
)  # fmt: skip
def test_topologies_come_closer_to_their_dense_outputs(name):
    dense, pruned, plan = pruned_topology(name)
    found = recover(dense, pruned, plan, noise(48, 3, 16, 16))
    unseen = noise(16, 3, 16, 16, seed=1)
    before, after = output_error(pruned, dense, unseen), output_error(found.model, dense, unseen)
    assert after < 0.5 * before
    assert found.dense == 0 and found.recovered < found.pruned
    assert found.recovered == min(found.pruned, *(step.after for step in found.steps))


def test_what_is_given_stays_as_it_is():
    dense, pruned, plan = pruned_topology("Residual")
    dense.train()
    pruned.train()
    before = [copy.deepcopy(model.state_dict()) for model in (dense, pruned)]
    found = recover(dense, pruned, plan, noise(16, 3, 16, 16))
    for model, state in zip((dense, pruned), before, strict=True):
        assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
        assert model.training
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(module.training for module in found.model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in found.model.modules())


def test_the_same_data_give_the_same_weights():
    dense, pruned, plan = pruned_topology("Residual")
    first, second = (recover(dense, pruned, plan, noise(16, 3, 16, 16)).model.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_change_that_raises_the_loss_is_refused():
    """The loss is the distance from the plainly pruned model's own outputs: no change can lower it."""
    dense, pruned, plan = pruned_topology("Residual")
    images = noise(32, 3, 16, 16)

    def loss(model, batch):
        return (model(batch) - pruned(batch)).square().mean()

    found = recover(dense, pruned, plan, images.split(4), loss)
    assert found.pruned == found.recovered == 0 and found.steps
    assert not any(step.kept for step in found.steps)
    assert all(torch.equal(a, b) for a, b in zip(found.model.parameters(), pruned.parameters(), strict=True))


def test_a_loss_takes_batches_of_its_own_form():
    dense, pruned, plan = pruned_topology("Concat")
    images = noise(32, 3, 16, 16)
    with torch.no_grad():
        labels = dense(images).argmax(1)
    batches = [{"img": x, "cls": y} for x, y in zip(images.split(8), labels.split(8), strict=True)]

    def loss(model, batch):
        return nn.functional.cross_entropy(model(batch["img"]), batch["cls"])

    found = recover(dense, pruned, plan, batches, loss)
    held_out = batches[3]
    assert found.dense == pytest.approx(loss(dense, held_out).item())
    assert found.pruned == pytest.approx(loss(pruned, held_out).item())
    assert found.recovered == pytest.approx(loss(found.model, held_out).item())


def test_progress_is_told_layer_by_layer():
    dense, pruned, plan = pruned_topology("Residual")
    seen = []
    recover(dense, pruned, plan, noise(16, 3, 16, 16), tick=lambda *told: seen.append(told))
    assert seen == [("least squares", done, 3) for done in (1, 2, 3)] + [("biases", done, 4) for done in (1, 2, 3, 4)]


def test_a_plan_of_other_models_is_refused():
    dense, _, plan = pruned_topology("Residual")
    images = noise(16, 3, 16, 16)
    with pytest.raises(PlanError, match=r"from 16 to 9, and the models have 16 and 16; give the dense model, and"):
        recover(dense, dense, plan, images)
    with pytest.raises(PlanError, match="is not in both models; give the dense model, and what this plan made of it"):
        recover(nn.Flatten(), nn.Flatten(), plan, images)


@pytest.mark.parametrize("data", [noise(1, 3, 16, 16), [noise(4, 3, 16, 16)]])
def test_one_batch_cannot_judge_itself(data):
    dense, pruned, plan = pruned_topology("Residual")
    with pytest.raises(InputError, match="1 calibration batch; give at least two"):
        recover(dense, pruned, plan, data)


def test_data_without_numbers_is_refused():
    dense, pruned, plan = pruned_topology("Residual")
    with pytest.raises(InputError, match="score on the calibration data is nan"):
        recover(dense, pruned, plan, noise(16, 3, 16, 16) * float("nan"))
