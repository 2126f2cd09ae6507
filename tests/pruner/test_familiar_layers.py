"""Layers of the user's own and training loops, as people write them for Torch-Pruning, with the import line changed."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import deploy_prune as tp
from deploy_prune.pruner import verify

DATA = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))


class Gated(nn.Module):
    """Holds parameters of its own and a layer, whose outputs are no inputs of it as far as operators tell."""

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.scale, self.bias = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width))
        self.inner = nn.Linear(width, width)

    def forward(self, x):
        return self.inner(x * self.scale + self.bias)


class GatedPruner(tp.pruner.BasePruningFunc):
    def prune_out_channels(self, layer, idxs):
        kept = [k for k in range(layer.width) if k not in idxs]
        layer.width -= len(idxs)
        layer.scale = self._prune_parameter_and_grad(layer.scale, kept, pruning_dim=0)
        layer.bias = self._prune_parameter_and_grad(layer.bias, kept, pruning_dim=0)
        tp.prune_linear_in_channels(layer.inner, idxs)
        tp.prune_linear_out_channels(layer.inner, idxs)
        return layer

    def get_out_channels(self, layer):
        return layer.width

    prune_in_channels = prune_out_channels
    get_in_channels = get_out_channels


class CountingLinearPruner(tp.function.LinearPruner):
    def __init__(self):
        super().__init__()
        self.cut = []

    def prune_out_channels(self, layer, idxs):
        self.cut.append((layer, "out", list(idxs)))
        return super().prune_out_channels(layer, idxs)

    def prune_in_channels(self, layer, idxs):
        self.cut.append((layer, "in", list(idxs)))
        return super().prune_in_channels(layer, idxs)


def gated():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), Gated(8), nn.Linear(8, 3))


def test_a_layer_whose_function_cuts_the_layers_inside():
    model = gated()
    dense = copy.deepcopy(model)
    model(DATA).sum().backward()
    DG = tp.DependencyGraph()  # noqa: N806 - as people write it
    linear = CountingLinearPruner()
    DG.register_customized_layer(Gated, GatedPruner())
    DG.register_customized_layer(nn.Linear, linear)
    DG.build_dependency(model, example_inputs=DATA)
    group = DG.get_pruning_group(model[0], linear.prune_out_channels, idxs=[0, 1, 6])
    assert group[0].dep.handler == linear.prune_out_channels
    group.prune()
    assert (model[0].out_features, model[2].width, model[3].in_features) == (5, 5, 5)
    assert model[2].inner.weight.shape == (5, 5) and model[2].scale.grad.shape == (5,)
    assert linear.cut == [(model[0], "out", [0, 1, 6]), (model[3], "in", [0, 1, 6])]  # the inner one has no say
    verify(dense, model, DG.plan, DATA)


def test_without_a_function_of_its_own_the_layer_keeps_two_widths():
    model = gated()
    DG = tp.DependencyGraph().build_dependency(model, DATA)  # noqa: N806
    assert [g.name for g in DG.get_all_groups()] == ["0", "2.inner"]


def test_what_a_function_forgets_is_cut_all_the_same():
    class Forgetful(GatedPruner):
        def prune_out_channels(self, layer, idxs):
            kept = [k for k in range(layer.width) if k not in idxs]
            layer.scale = self._prune_parameter_and_grad(layer.scale, kept, 0)
            return layer

        prune_in_channels = prune_out_channels

    model = gated()
    dense = copy.deepcopy(model)
    pruner = tp.pruner.BasePruner(model, DATA, pruning_ratio=0.5, customized_pruners={Gated: Forgetful()})
    pruner.step()
    assert model[2].inner.weight.shape == (4, 4) and model[2].bias.shape == (4,)
    verify(dense, model, pruner.DG.plan, DATA)


@pytest.mark.parametrize("kind", ["BNScalePruner", "GroupNormPruner", "GrowingRegPruner"])
def test_sparse_training(kind):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    free = copy.deepcopy(model)
    target = torch.tensor([0, 1, 2, 0])
    pruner = getattr(tp.pruner, kind)(
        model, DATA, importance=tp.importance.GroupMagnitudeImportance(), pruning_ratio=0.5, iterative_steps=2, reg=0.1
    )
    for widths in (12, 8):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            model.train()
            pruner.update_regularizer()
            for _ in range(3):
                optimizer.zero_grad()
                F.cross_entropy(model(DATA), target).backward()
                pruner.regularize(model)
                optimizer.step()
            if isinstance(pruner, tp.pruner.GrowingRegPruner):
                pruner.update_reg()
        pruner.step()
        assert model[0].out_features == widths
    assert model[1].weight.abs().mean() < free[1].weight.abs().mean()


@pytest.mark.parametrize("kind", [tp.importance.GroupTaylorImportance, tp.importance.GroupHessianImportance])
def test_criteria_that_need_gradients(kind):
    model, importance = gated(), kind()
    pruner = tp.pruner.BasePruner(model, DATA, importance=importance, pruning_ratio=0.5)
    losses = F.cross_entropy(model(DATA), torch.tensor([0, 1, 2, 0]), reduction="none")
    if isinstance(importance, tp.importance.GroupHessianImportance):
        importance.zero_grad()
        for loss in losses:
            model.zero_grad()
            loss.backward(retain_graph=True)
            importance.accumulate_grad(model)
    else:
        losses.mean().backward()
    pruner.step()
    assert (model[0].out_features, model[3].in_features) == (4, 4)


def test_language_models_with_one_query_per_key():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=6,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    dense = copy.deepcopy(model)
    inputs = torch.randint(0, 50, (1, 5))
    num_heads = {}
    for name, m in model.named_modules():
        if name.endswith("self_attn"):
            for layer in (m.q_proj, m.k_proj, m.v_proj):
                num_heads[layer] = config.num_attention_heads
    pruner = tp.pruner.BasePruner(
        model,
        example_inputs=inputs,
        importance=tp.importance.GroupMagnitudeImportance(p=2, group_reduction="mean"),
        global_pruning=False,
        output_transform=lambda x: x.logits,
        pruning_ratio=0.34,
        ignored_layers=[model.lm_head],
        num_heads=num_heads,
        prune_num_heads=True,
        prune_head_dims=False,
        head_pruning_ratio=0.5,
        out_channel_groups={},
        round_to=4,
    )
    for g in pruner.step(interactive=True):
        g.prune()
    model.config.hidden_size = model.lm_head.in_features
    for name, m in model.named_modules():
        if name.endswith("self_attn"):
            m.hidden_size = m.q_proj.out_features
            m.num_heads = m.hidden_size // m.head_dim
            model.config.num_attention_heads = model.config.num_key_value_heads = m.num_heads
            assert (m.head_dim, m.num_key_value_groups) == (8, m.num_heads // model.config.num_key_value_heads)
        elif name.endswith("mlp"):
            model.config.intermediate_size = m.gate_proj.out_features
    assert (config.hidden_size, config.intermediate_size, config.num_attention_heads) == (32, 64, 3)
    assert model.generate(inputs, max_new_tokens=3, do_sample=False).shape == (1, 8)
    verify(dense, model, pruner.DG.plan, inputs, output_transform=lambda x: x.logits)
