"""Which parameters count: any module's, tied ones once, buffers never."""

import pytest
import torch
from torch import nn

from deploy_prune.importance import (
    ActivationImportance,
    FisherImportance,
    FPGMImportance,
    HessianImportance,
    Importance,
    LAMPImportance,
    MagnitudeImportance,
    OBDCImportance,
    TaylorImportance,
    WandaImportance,
)
from deploy_prune.pruner import DependencyGraph, MagnitudePruner


class InOut(nn.Module):
    """A linear layer whose weight has shape (in, out), as in GPT-2."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.nf = outputs
        self.weight = nn.Parameter(torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return x @ self.weight + self.bias


class Bare(nn.Module):
    """Parameters used directly."""

    def __init__(self):
        super().__init__()
        self.up, self.scale, self.down = (nn.Parameter(torch.randn(*s)) for s in ((2, 3), (3,), (3, 2)))

    def forward(self, x):
        return (x @ self.up * self.scale) @ self.down


MODELS = {
    "(in, out) weights": lambda: (nn.Sequential(InOut(2, 3), nn.ReLU(), InOut(3, 2)), torch.rand(4, 2)),
    "bare parameters": lambda: (Bare(), torch.rand(4, 2)),
    "embedding": lambda: (nn.Sequential(nn.Embedding(5, 3), InOut(3, 2)), torch.tensor([[0, 1, 2, 3]])),
    "RMS norm": lambda: (nn.Sequential(nn.Linear(2, 3), nn.RMSNorm(3), nn.Linear(3, 2)), torch.rand(4, 2)),
    "transposed": lambda: (nn.Sequential(nn.Conv1d(2, 3, 1), nn.ConvTranspose1d(3, 2, 1)), torch.rand(4, 2, 3)),
}


def prepared(importance, model, inputs):
    """The criterion with the gradients or activations that it needs."""
    model.zero_grad()
    if hasattr(importance, "collect"):
        with importance.collect(model):
            model(inputs)
    model(inputs).square().sum().backward()
    if hasattr(importance, "accumulate_grad"):
        importance.accumulate_grad(model)
    return importance


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "kind",
    [
        MagnitudeImportance,
        FPGMImportance,
        LAMPImportance,
        TaylorImportance,
        HessianImportance,
        OBDCImportance,
        FisherImportance,
        ActivationImportance,
        WandaImportance,
    ],
)
def test_every_group_with_weights_has_scores(name, kind):
    torch.manual_seed(1)
    model, inputs = MODELS[name]()
    importance = prepared(kind(), model, inputs)
    for group in DependencyGraph().build_dependency(model, inputs).get_all_groups():
        scores = importance(group)
        if name == "bare parameters" and kind in (ActivationImportance, WandaImportance):
            assert scores is None, "no layer whose input a hook could see"
        else:
            assert scores.shape == (3,) and scores.isfinite().all() and scores.std() > 0


def test_in_out_weights_score_as_their_transposes(group_of):
    torch.manual_seed(1)
    turned, inputs = MODELS["(in, out) weights"]()
    plain = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        for layer, other in ((plain[0], turned[0]), (plain[2], turned[2])):
            layer.weight.copy_(other.weight.T)
            layer.bias.copy_(other.bias)
    for kind in (MagnitudeImportance, FPGMImportance, OBDCImportance, ActivationImportance, WandaImportance):
        scores = [prepared(kind(), m, inputs)(group_of(m, inputs)) for m in (plain, turned)]
        assert torch.allclose(*scores, rtol=1e-4), kind.__name__


class Tied(nn.Module):
    """An embedding that is the output layer too."""

    def __init__(self):
        super().__init__()
        self.embed, self.middle, self.head = (
            nn.Embedding(4, 2),
            nn.Linear(2, 2, bias=False),
            nn.Linear(2, 4, bias=False),
        )
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens)
        return self.head(x + self.middle(x))


def test_tied_weights_count_once(group_of):
    model = Tied()
    with torch.no_grad():
        model.embed.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0], [3.0, 0.0]]))
        model.middle.weight.copy_(torch.tensor([[10.0, 0.0], [0.0, 20.0]]))
    scores = MagnitudeImportance(p=1, group_reduction="sum", normalizer=None)(group_of(model, torch.tensor([[0, 1]])))
    assert scores.tolist() == [1 + 3 + 10 + 10, 2 + 20 + 20]  # the middle layer loses a row and a column


def test_running_statistics_do_not_count(group_of):
    model = nn.Sequential(nn.Conv1d(1, 2, 1), nn.BatchNorm1d(2), nn.Conv1d(2, 1, 1))
    group = group_of(model, torch.rand(2, 1, 3))
    before = MagnitudeImportance()(group)
    model[1].running_var.fill_(100)
    assert torch.equal(MagnitudeImportance()(group), before)


def test_a_group_of_biases_alone_is_scored_by_them(group_of):
    class OnlyBias(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.tensor([3.0, -1.0, 2.0]))

        def forward(self, x):
            return (x.sum(1, keepdim=True) * self.bias).sum(1)

    group = group_of(OnlyBias(), torch.rand(4, 2))
    assert MagnitudeImportance(p=1, normalizer=None)(group).tolist() == [3, 1, 2]


def test_half_precision_is_summed_in_single():
    model = nn.Sequential(nn.Linear(2048, 2), nn.Linear(2, 1)).to(torch.bfloat16)
    torch.nn.init.ones_(model[0].weight)
    (group,) = DependencyGraph().build_dependency(model, torch.rand(1, 2048, dtype=torch.bfloat16)).get_all_groups()
    scores = MagnitudeImportance(group_reduction="first", normalizer=None)(group)
    assert scores.dtype == torch.float32 and scores.tolist() == [2048, 2048]


def test_plain_functions_and_subclasses_work(two_layers):
    class Slimming(Importance):
        def __call__(self, group, **kwargs):
            scores = [
                dep.target.module.weight.detach().abs().sum(1) for dep, idxs in group if len(idxs) and dep.axis == 0
            ]
            return torch.stack(scores).mean(0)

    for importance in (Slimming(), lambda group, **kwargs: Slimming()(group)):
        model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        model.load_state_dict(two_layers.state_dict())
        MagnitudePruner(model, torch.rand(1, 2), importance=importance, pruning_ratio=0.5).step()
        assert model[0].weight.tolist() == [[3, 4]]
