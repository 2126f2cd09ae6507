"""Least squares whose answer is known: a removed unit that the kept ones can stand in for leaves no trace."""

import pytest
import torch
from recovery.parts import Affine, make_dependent, noise, relative_error, remove
from torch import nn

from deploy_prune.recovery import recover
from deploy_prune.recovery.fitting import Fitting
from deploy_prune.recovery.layers import find_layers
from deploy_prune.recovery.targets import record_targets


def conv(*args, **kwargs):
    return nn.Conv2d(*args, **kwargs)


IMAGE, TOKENS, SERIES = (12, 9, 8), (5, 12), (12, 20)
CASES = {
    "linear": (lambda: (nn.Linear(12, 8), nn.Linear(8, 4)), (12,)),
    "linear on tokens, no bias": (lambda: (nn.Linear(12, 8), nn.Linear(8, 4, bias=False)), TOKENS),
    "pointwise": (lambda: (conv(12, 8, 1), conv(8, 4, 1)), IMAGE),
    "kernel, stride, padding": (lambda: (conv(12, 8, 1), conv(8, 4, 3, 2, 1)), IMAGE),
    "uneven kernel": (lambda: (conv(12, 8, 1), conv(8, 4, (1, 3), (2, 1), (0, 2))), IMAGE),
    "dilation, same padding": (lambda: (conv(12, 8, 1), conv(8, 4, 3, padding="same", dilation=2)), IMAGE),
    "reflected": (lambda: (conv(12, 8, 1), conv(8, 4, 3, padding=1, padding_mode="reflect")), IMAGE),
    "one dimension": (lambda: (nn.Conv1d(12, 8, 1), nn.Conv1d(8, 4, 3, 2, 1, 2)), SERIES),
}


@pytest.mark.parametrize("name", CASES)
def test_a_dependent_unit_is_recovered_exactly(name):
    """Unit 2 is 0.5 of unit 0 less 2 of unit 5; without it, the consumer's best weights make up for all of it.

    Where the consumer pads with zeros, biases of the producer would not reach the border: they are zero.
    """
    torch.manual_seed(0)
    layers, shape = CASES[name]
    dense = Affine(*layers())
    nn.init.zeros_(dense[0].bias)
    make_dependent(dense[0], 2, (0, 5), (0.5, -2.0))
    images, unseen = noise(64, *shape), noise(8, *shape, seed=1)
    pruned, plan = remove(dense, images[:1], "0", [2])
    found = recover(dense, pruned, plan, images)
    assert relative_error(pruned(unseen), dense(unseen)) > 0.05
    assert relative_error(found.model(unseen), dense(unseen)) < 1e-5
    expected = dense[1].weight.clone()
    expected[:, 0] += 0.5 * dense[1].weight[:, 2]
    expected[:, 5] -= 2.0 * dense[1].weight[:, 2]
    kept = [k for k in range(8) if k != 2]
    assert torch.allclose(found.model[1].weight, expected[:, kept], atol=1e-5)
    solved = next(step for step in found.steps if step.name == "least squares")
    assert solved.kept and [(error.name, error.kept) for error in solved.layers] == [("1", True)]


def test_every_group_of_a_grouped_convolution_is_fitted_on_its_own_inputs():
    """Two groups of four inputs: in each, unit 1 repeats unit 0 with another factor."""
    torch.manual_seed(0)
    dense = Affine(nn.Conv2d(12, 8, 1, bias=False), nn.Conv2d(8, 6, 3, padding=1, groups=2))
    make_dependent(dense[0], 1, (0,), (3.0,))
    make_dependent(dense[0], 5, (4,), (-1.5,))
    images, unseen = noise(64, *IMAGE), noise(8, *IMAGE, seed=1)
    graph_inputs = images[:1]
    pruned, plan = remove(dense, graph_inputs, "0", [1])
    assert pruned[1].weight.shape == (6, 3, 3, 3)
    found = recover(dense, pruned, plan, images)
    assert relative_error(found.model(unseen), dense(unseen)) < 1e-5
    first = dense[1].weight[:3, 0] + 3.0 * dense[1].weight[:3, 1]
    second = dense[1].weight[3:, 0] - 1.5 * dense[1].weight[3:, 1]
    assert torch.allclose(found.model[1].weight[:, 0], torch.cat([first, second]), atol=1e-5)


def test_a_constant_unit_moves_into_the_bias():
    """Unit 1 puts out 3 whatever comes in: the consumer's bias takes 3 times its weight."""
    torch.manual_seed(0)
    dense = Affine(nn.Linear(4, 5), nn.Linear(5, 2))
    with torch.no_grad():
        dense[0].weight[1], dense[0].bias[1] = 0, 3.0
    pruned, plan = remove(dense, noise(1, 4), "0", [1])
    found = recover(dense, pruned, plan, noise(64, 4))
    assert torch.allclose(found.model[1].bias, dense[1].bias + 3 * dense[1].weight[:, 1], atol=1e-5)


def test_without_a_bias_the_mean_goes_into_the_batch_norm_behind():
    """The same before a batch norm: its mean falls by 3 times the weight."""
    torch.manual_seed(0)
    dense = Affine(nn.Conv2d(4, 5, 1), nn.Conv2d(5, 2, 1, bias=False), nn.BatchNorm2d(2))
    with torch.no_grad():
        dense[0].weight[1], dense[0].bias[1] = 0, 3.0
    pruned, plan = remove(dense, noise(1, 4, 6, 6), "0", [1])
    found = recover(dense, pruned, plan, noise(64, 4, 6, 6))
    assert torch.allclose(found.model[2].running_mean, -3 * dense[1].weight[:, 1, 0, 0], atol=1e-5)
    unseen = noise(8, 4, 6, 6, seed=1)
    assert relative_error(found.model(unseen), dense(unseen)) < 1e-5


def test_later_layers_see_what_earlier_ones_could_not_win_back():
    """Unit 0 of the first layer goes, and its successors carry their loss on; the last one scales by what is left.

    y = 2 * (a + b) from inputs a and b that are equal but for noise; without a the middle layer takes 2 * b.
    """
    dense = Affine(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        dense[0].weight.copy_(torch.eye(2))
        dense[1].weight.fill_(2.0)
    common = noise(64, 1)
    pruned, plan = remove(dense, noise(1, 2), "0", [0])
    found = recover(dense, pruned, plan, torch.cat([common, common], 1))
    assert found.model[1].weight.item() == pytest.approx(4.0, abs=1e-5)


def test_a_layer_that_runs_twice_is_fitted_on_both_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.b(self.a(x)) + self.b(input=self.a(x.flip(0)) * 0.5)

    torch.manual_seed(0)
    dense = Twice().eval()
    make_dependent(dense.a, 2, (0,), (1.5,))
    pruned, plan = remove(dense, noise(2, 6), "a", [2])
    found = recover(dense, pruned, plan, noise(64, 6))
    unseen = noise(8, 6, seed=1)
    assert relative_error(found.model(unseen), dense(unseen)) < 1e-5


def test_weights_that_two_layers_share_stay():
    torch.manual_seed(0)
    dense = Affine(nn.Linear(12, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2))
    dense[1].weight = dense[2].weight
    pruned, plan = remove(dense, noise(1, 12), "0", [2])
    found = recover(dense, pruned, plan, noise(64, 12))
    fitted = {error.name for step in found.steps for error in step.layers}
    assert fitted == {"0", "3"} and torch.equal(found.model[1].weight, pruned[1].weight)


def means_of(dense, pruned, plan, images):
    """Biases fitted on all but the last of four batches."""
    layers, batches = find_layers(dense, pruned, plan), images.chunk(4)
    targets = record_targets(dense, layers.values(), batches, run)
    fitting = Fitting(targets, batches, (False, False, False, True), run)
    return {error.name: error for error in fitting.fit_biases(pruned, layers.values(), lambda *_: None, norms=True)}


def run(model, batch):
    return model(batch)


def test_a_known_mean_is_restored_by_the_bias():
    """The kept outputs of a layer are off by 1, 2, 3, 0 and 0: its bias takes that back, and nothing else is off."""
    torch.manual_seed(0)
    dense = Affine(nn.Linear(4, 6), nn.Linear(6, 3))
    pruned, plan = remove(dense, noise(1, 4), "0", [1])
    with torch.no_grad():
        pruned[0].bias += torch.tensor([1.0, 2, 3, 0, 0])
    images = noise(64, 4)
    errors = means_of(dense, pruned, plan, images)
    assert torch.allclose(pruned[0].bias, dense[0].bias[[0, 2, 3, 4, 5]], atol=1e-6)
    with torch.no_grad():
        off = dense(images[:48]) - pruned(images[:48])
        outputs = dense[0](images[48:])[:, [0, 2, 3, 4, 5]]
    assert torch.allclose(off.mean(0), torch.zeros(3), atol=1e-6)
    assert errors["0"].kept and errors["0"].after == pytest.approx(0, abs=1e-10)
    assert errors["0"].before == pytest.approx(16 * (1 + 4 + 9) / float(outputs.square().sum()))


def test_a_known_mean_is_restored_by_the_batch_norm_behind():
    dense = Affine(nn.Conv2d(4, 3, 1, bias=False), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    pruned, plan = remove(dense, noise(1, 4, 2, 2), "0", [1])
    images = noise(64, 4, 2, 2) + 1
    with torch.no_grad():
        pruned[0].weight[0] *= 2  # the first output's mean is twice what it was
        mean = dense[0](images[:48]).mean((0, 2, 3))[0]
        errors = means_of(dense, pruned, plan, images)
    assert torch.allclose(pruned[1].running_mean, torch.stack([mean, torch.zeros(())]), atol=1e-5)
    assert errors["0"].after < errors["0"].before


def test_a_mean_of_few_images_that_held_out_ones_contradict_is_refused():
    """Where the models agree on held-out data, a shift that other data ask for only does harm."""
    dense = Affine(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    pruned, plan = remove(dense, noise(1, 1), "0", [1])
    with torch.no_grad():
        for model in (dense, pruned):
            model[0].weight[0], model[0].bias[0] = 1.0, 0.0
        pruned[0].weight[0] = 3.0  # off by 2 x: by 2 at the fitted x = 1, by nothing at the held-out x = 0
    errors = means_of(dense, pruned, plan, torch.tensor([[1.0], [1.0], [1.0], [0.0]]))
    assert not errors["0"].kept and pruned[0].bias.tolist() == [0.0]
