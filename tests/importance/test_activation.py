import copy

import pytest
import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.importance import ActivationImportance, WandaImportance
from deploy_prune.pruner import DependencyGraph

BATCHES = (torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [-9.0, 0.0]]))
"""Hidden units of ``two_layers`` before ReLU: (4, 19); (8, 11), (-2, -19)."""


def collected(importance, model, *batches):
    with importance.collect(model):
        for batch in batches:
            model(batch)
    return importance


def test_mean_magnitude_by_hand(two_layers, group_of):
    importance = collected(ActivationImportance(normalizer=None), two_layers, *BATCHES)
    scores = importance(group_of(two_layers, torch.rand(1, 2)))
    assert scores.tolist() == [(4 + 8 + 0) / 3, (19 + 11 + 0) / 3]


def test_wanda_by_hand(two_layers, group_of):
    importance = collected(WandaImportance(normalizer=None, group_reduction=None), two_layers, *BATCHES)
    one, two = ((1 + 1 + 81) / 3) ** 0.5, (4 / 3) ** 0.5
    reader = [5 * ((16 + 64) / 3) ** 0.5, 6 * ((361 + 121) / 3) ** 0.5]
    expected = torch.tensor([[1 * one + 2 * two, 3 * one + 4 * two], reader])
    assert torch.allclose(importance(group_of(two_layers, torch.rand(1, 2))), expected)


def test_every_position_of_a_map_counts(group_of):
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 10.0]).view(2, 1, 1, 1))
    image = torch.tensor([1.0, 2.0, 3.0, 6.0]).view(1, 1, 2, 2)
    importance = collected(ActivationImportance(normalizer=None), model, image)
    assert importance(group_of(model, image)).tolist() == [3, 30]
    without_batch = collected(ActivationImportance(normalizer=None), model, image[0])
    assert without_batch(group_of(model, image)).tolist() == [3, 30]


def test_channels_of_a_grouped_convolution_meet_their_own_inputs(group_of):
    """Depthwise 1 * a and 2 * b on inputs 3 and 5, so that |w|*||x|| is 3 and 10."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 2, 1, groups=2, bias=False), nn.Conv2d(2, 1, 1, bias=False)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([3.0, 5.0]).view(2, 1, 1, 1))
        model[1].weight.copy_(torch.tensor([1.0, -2.0]).view(2, 1, 1, 1))
        model[2].weight.copy_(torch.tensor([1.0, 1.0]).view(1, 2, 1, 1))
    image = torch.ones(1, 1, 2, 2)
    importance = collected(WandaImportance(normalizer=None, group_reduction=None), model, image)
    assert importance(group_of(model, image)).tolist() == [[3, 5], [3, 10], [3, 10]]


def test_every_output_of_a_group_meets_the_groups_inputs():
    """Inputs 1, 2 in the first group and 3, 4 in the second, all weights 1."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 1, bias=False), nn.Conv2d(4, 4, 1, groups=2, bias=False), nn.Conv2d(4, 1, 1, bias=False)
    )
    for layer in model:
        nn.init.ones_(layer.weight)
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1))
    image = torch.ones(1, 1, 2, 2)
    importance = collected(WandaImportance(), model, image)
    found = {
        (dependency.target.name, dependency.axis): importance.score(dependency, torch.arange(size)[:, None]).tolist()
        for group in DependencyGraph().build_dependency(model, image).get_all_groups()
        for dependency, _ in group.slices()
        for size in [dependency.tensor.shape[dependency.axis]]
    }
    assert found["1", 0] == [1 + 2, 1 + 2, 3 + 4, 3 + 4]
    assert found["1", 1] == [2 * 1 + 2 * 3, 2 * 2 + 2 * 4]  # an index is a channel of each group
    assert found["2", 1] == [3, 3, 7, 7]


def test_transposed_convolutions_read_along_their_first_axis(group_of):
    model = nn.Sequential(nn.Conv1d(1, 2, 1, bias=False), nn.ConvTranspose1d(2, 1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([3.0, 5.0]).view(2, 1, 1))
        model[1].weight.copy_(torch.tensor([4.0, -2.0]).view(2, 1, 1))
    signal = torch.ones(1, 1, 3)
    wanda = collected(WandaImportance(normalizer=None, group_reduction=None), model, signal)
    assert wanda(group_of(model, signal)).tolist() == [[3, 5], [12, 10]]
    assert collected(ActivationImportance(normalizer=None), model, signal)(group_of(model, signal)).tolist() == [3, 5]


def test_makers_stand_in_for_readers_that_are_not_seen(group_of):
    class IntoRecurrence(nn.Module):
        def __init__(self):
            super().__init__()
            self.make, self.read = nn.Linear(1, 3, bias=False), nn.Parameter(torch.ones(3, 2))

        def forward(self, x):
            return self.make(x) @ self.read

    model = IntoRecurrence()
    with torch.no_grad():
        model.make.weight.copy_(torch.tensor([[1.0], [-2.0], [3.0]]))
    importance = collected(ActivationImportance(normalizer=None), model, torch.tensor([[2.0]]))
    assert importance(group_of(model, torch.rand(1, 1))).tolist() == [2, 4, 6]


def test_inputs_given_by_name_are_seen(group_of):
    class ByName(nn.Module):
        def __init__(self):
            super().__init__()
            self.make, self.read = nn.Linear(1, 2, bias=False), nn.Linear(2, 1)

        def forward(self, x):
            return self.read(input=self.make(input=x))

    model = ByName()
    with torch.no_grad():
        model.make.weight.copy_(torch.tensor([[1.0], [-2.0]]))
    importance = collected(ActivationImportance(normalizer=None), model, torch.tensor([[2.0]]))
    assert importance(group_of(model, torch.rand(1, 1))).tolist() == [2, 4]


@pytest.mark.parametrize("kind", [ActivationImportance, WandaImportance])
class TestProtocol:
    def test_hooks_are_gone_after_success_and_failure(self, two_layers, kind):
        importance = collected(kind(), two_layers, *BATCHES)
        with pytest.raises(RuntimeError, match="shapes"), importance.collect(two_layers):
            assert any(m._forward_hooks for m in two_layers.modules())
            two_layers(torch.rand(1, 5))
        assert not any(m._forward_hooks for m in two_layers.modules())

    def test_collecting_again_starts_afresh(self, two_layers, group_of, kind):
        group = group_of(two_layers, torch.rand(1, 2))
        importance = collected(kind(), two_layers, *BATCHES)
        collected(importance, two_layers, BATCHES[0])
        assert torch.equal(importance(group), collected(kind(), two_layers, BATCHES[0])(group))

    def test_scoring_without_data_is_refused(self, two_layers, group_of, kind):
        with pytest.raises(InputError, match=r"no activations were collected for 0\.weight; run the model that is"):
            kind()(group_of(two_layers, torch.rand(1, 2)))
        with pytest.raises(InputError, match="within `with importance"):
            collected(kind(), two_layers)(group_of(two_layers, torch.rand(1, 2)))

    def test_activations_of_another_model_are_refused(self, two_layers, group_of, kind):
        importance = collected(kind(), two_layers, *BATCHES)
        with pytest.raises(InputError, match="run the model that is to be pruned"):
            importance(group_of(copy.deepcopy(two_layers), torch.rand(1, 2)))

    def test_activations_of_the_dense_model_are_refused_after_pruning(self, kind):
        model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        graph = DependencyGraph().build_dependency(model, torch.rand(1, 2))
        importance = collected(kind(), model, torch.rand(3, 2))
        next(graph.get_all_groups()).prune([0])
        with pytest.raises(InputError, match="a Linear had 4 inputs, and now it has 3; collect again after pruning"):
            importance(next(graph.get_all_groups()))

    def test_outputs_and_modes_are_as_before(self, two_layers, kind):
        expected = two_layers(BATCHES[1])
        importance = kind()
        with importance.collect(two_layers):
            output = two_layers(BATCHES[1])
        assert torch.equal(output, expected) and output.requires_grad
