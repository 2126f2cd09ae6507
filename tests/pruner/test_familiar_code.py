"""Code written for Torch-Pruning in the ways that it documents, with the import line changed."""

import copy

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

import deploy_prune as tp
from deploy_prune.pruner import verify


class Tiny(nn.Module):
    """A residual network of four layers with a classifier of ten."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.conv3, self.bn3 = nn.Conv2d(32, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16 * 4, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = x + self.bn3(self.conv3(F.relu(self.bn2(self.conv2(x)))))
        return self.fc(F.adaptive_avg_pool2d(x, 2).flatten(1))


INPUTS = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def tiny():
    torch.manual_seed(0)
    return Tiny().eval()


def test_low_level_group():
    model = tiny()
    DG = tp.DependencyGraph().build_dependency(model, example_inputs=INPUTS)  # noqa: N806 - as people write it
    group = DG.get_pruning_group(model.conv1, tp.prune_conv_out_channels, idxs=[2, 6, 9])
    assert "conv1" in group.details() and "[2, 6, 9]" in group.details()
    if DG.check_pruning_group(group):
        group.prune()
    assert model(INPUTS).shape == (2, 10)
    assert (model.conv1.out_channels, model.conv3.out_channels, model.fc.in_features) == (13, 13, 13 * 4)
    for group in DG.get_all_groups(ignored_layers=[model.conv1], root_module_types=[nn.Conv2d, nn.Linear]):
        group.prune(idxs=[2, 4, 6])
    assert model.conv2.out_channels == 29


def test_high_level_pruner(capsys):
    model = torchvision.models.resnet18(num_classes=1000).eval()
    example_inputs = torch.randn(1, 3, 32, 32)
    imp = tp.importance.GroupMagnitudeImportance(p=2)
    ignored_layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 1000]
    pruner = tp.pruner.BasePruner(
        model,
        example_inputs,
        importance=imp,
        pruning_ratio=0.5,
        ignored_layers=ignored_layers,
        round_to=8,
    )
    base_macs, base_nparams = tp.utils.count_ops_and_params(model, example_inputs)
    tp.utils.print_tool.before_pruning(model)
    pruner.step()
    changed = tp.utils.print_tool.after_pruning(model)
    macs, nparams = tp.utils.count_ops_and_params(model, example_inputs)
    assert (base_nparams, nparams) == (11689512, 3055880)
    assert base_macs > 3.5 * macs
    assert (
        "(conv1): Conv2d(3, 64, kernel_size=(7, 7), stride=(2, 2), padding=(3, 3), bias=False) => (conv1): Conv2d(3, 32"
        in changed
    )
    assert capsys.readouterr().out.startswith("ResNet(")


def test_interactive_pruning():
    model, iterative_steps = tiny(), 2
    pruner = tp.pruner.MetaPruner(
        model,
        INPUTS,
        importance=tp.importance.MagnitudeImportance(),
        pruning_ratio=0.5,
        iterative_steps=iterative_steps,
    )
    for _ in range(iterative_steps):
        for group in pruner.step(interactive=True):
            dep, idxs = group[0]
            target_module = dep.target.module
            pruning_fn = dep.handler
            assert target_module in (model.conv1, model.conv2) and pruning_fn == tp.prune_conv_out_channels
            assert pruner.DG.is_out_channel_pruning_fn(pruning_fn) and len(idxs) in (4, 8)
            group.prune()
    assert (model.conv1.out_channels, model.conv2.out_channels) == (8, 16)
    model = tiny()
    pruner = tp.pruner.MetaPruner(model, INPUTS, importance=tp.importance.MagnitudeImportance(), pruning_ratio=0.5)
    for group in pruner.step(interactive=True):
        group.prune(idxs=[0, 2, 6])
    assert (model.conv1.out_channels, model.conv2.out_channels) == (13, 29)


def test_soft_pruning_by_masks_computes_what_removal_computes():
    soft, hard = tiny(), tiny()
    dense = copy.deepcopy(soft)
    pruners = [tp.pruner.MagnitudePruner(m, INPUTS, tp.importance.MagnitudeImportance()) for m in (soft, hard)]
    for group in pruners[0].step(interactive=True):
        for dep, idxs in group:
            target_layer = dep.target.module
            pruning_fn = dep.handler
            if pruning_fn in [tp.prune_conv_in_channels, tp.prune_linear_in_channels]:
                target_layer.weight.data[:, idxs] *= 0
            elif pruning_fn in [tp.prune_conv_out_channels, tp.prune_linear_out_channels]:
                target_layer.weight.data[idxs] *= 0
                if target_layer.bias is not None:
                    target_layer.bias.data[idxs] *= 0
            elif pruning_fn in [tp.prune_batchnorm_out_channels]:
                target_layer.weight.data[idxs] *= 0
                target_layer.bias.data[idxs] *= 0
    assert [p.shape for p in soft.parameters()] == [p.shape for p in dense.parameters()]
    pruners[1].step()
    torch.testing.assert_close(soft(INPUTS), hard(INPUTS))


class MySlimmingImportance(tp.importance.Importance):
    def __call__(self, group, **kwargs):
        group_imp = []
        for dep, idxs in group:
            layer = dep.target.module
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) and layer.affine:
                group_imp.append(torch.abs(layer.weight.data)[idxs])
        if len(group_imp) == 0:
            return None
        return torch.stack(group_imp, dim=0).mean(dim=0)


class MySlimmingPruner(tp.pruner.MetaPruner):
    def regularize(self, model, reg):
        for m in model.modules():
            if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) and m.affine:
                m.weight.grad.data.add_(reg * torch.sign(m.weight.data))


def test_a_pruner_and_an_importance_of_ones_own():
    model = tiny()
    with torch.no_grad():
        for bn in (model.bn1, model.bn2, model.bn3):
            bn.weight.copy_(torch.arange(1, len(bn.weight) + 1))
    pruner = MySlimmingPruner(
        model,
        INPUTS,
        importance=MySlimmingImportance(),
        pruning_ratio=0.5,
        ignored_layers=[model.fc],
        global_pruning=False,
    )
    model.train()
    F.cross_entropy(model(INPUTS), torch.tensor([1, 2])).backward()
    pruner.regularize(model, reg=1e-5)
    pruner.step()
    assert model.bn1.weight.tolist() == list(range(9, 17))


class TwoOfEach(nn.Module):
    """Two inputs by keyword, an integer, and a dict of outputs."""

    def __init__(self):
        super().__init__()
        self.image, self.token = nn.Conv2d(3, 8, 1), nn.Embedding(10, 8)
        self.mix, self.out, self.extra = nn.Linear(8, 12), nn.Linear(12, 4), nn.Linear(12, 6)

    def forward(self, image, token, scale=1):
        x = F.relu(self.mix(self.image(image).mean((2, 3)) + self.token(token))) * scale
        return {"logits": self.out(x), "extra": [self.extra(x)]}


@pytest.mark.parametrize("kind", ["dict", "tuple", "forward_fn"])
def test_several_inputs_and_outputs(kind):
    model = TwoOfEach()
    named = {"image": INPUTS, "token": torch.tensor([1, 2])}
    inputs = {"dict": named, "tuple": tuple(named.values()), "forward_fn": named}[kind]
    options = {"forward_fn": lambda model, data: model(**data, scale=2)} if kind == "forward_fn" else {}
    pruner = tp.pruner.MagnitudePruner(
        model,
        example_inputs=inputs,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        output_transform=lambda out: out["logits"].sum() if kind == "tuple" else out["logits"],
        **options,
    )
    pruner.step()
    assert (model.image.out_channels, model.token.embedding_dim, model.mix.out_features) == (4, 4, 6)
    assert model(**named)["logits"].shape == (2, 2 if kind == "tuple" else 4)  # a sum does not hold the logits' shape
    assert model(**named)["extra"][0].shape == (2, 3)  # nobody asked to keep it


def test_vision_transformer_with_heads():
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=7).eval()
    dense = copy.deepcopy(model)
    example_inputs = torch.rand(1, 3, 32, 32)
    num_heads = {}
    ignored_layers = [model.head]
    for m in model.modules():
        if isinstance(m, timm.models.vision_transformer.Attention):
            num_heads[m.qkv] = m.num_heads
    pruner = tp.pruner.BasePruner(
        model,
        example_inputs,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=ignored_layers,
        num_heads=num_heads,
        prune_num_heads=True,
        prune_head_dims=False,
        head_pruning_ratio=1 / 3,
        round_to=8,
    )
    for g in pruner.step(interactive=True):
        g.prune()
    for m in model.modules():  # what others have to set by hand is right already, and may be set again
        if isinstance(m, timm.models.vision_transformer.Attention):
            assert (m.num_heads, m.head_dim) == (pruner.num_heads[m.qkv], 64) == (2, 64)
            m.num_heads = pruner.num_heads[m.qkv]
            m.head_dim = m.qkv.out_features // (3 * m.num_heads)
    assert model(example_inputs).shape == (1, 7)
    assert model.blocks[0].mlp.fc1.out_features == 384 and model.pos_embed.shape[-1] == 96
    verify(dense, model, pruner.DG.plan, example_inputs)


def test_widths_are_those_of_torch_pruning():
    theirs = pytest.importorskip("torch_pruning")
    for ratio in (0.3, 0.55):
        widths = []
        for library in (theirs, tp):
            model = tiny()
            for parameter in model.parameters():
                parameter.requires_grad_(True)
            library.pruner.MagnitudePruner(
                model, INPUTS, library.importance.MagnitudeImportance(), pruning_ratio=ratio, iterative_steps=1,
                ignored_layers=[model.fc],
            ).step()  # fmt: skip
            widths.append([tuple(p.shape) for p in model.parameters()])
        assert widths[0] == widths[1]


def test_saving(tmp_path):
    model = tiny()
    tp.pruner.MagnitudePruner(model, INPUTS, pruning_ratio=0.5).step()
    model.zero_grad()
    tp.save(model, tmp_path / "model.pth")
    loaded = tp.load(tmp_path / "model.pth", weights_only=False)
    assert torch.equal(loaded(INPUTS), model(INPUTS))
    other = tp.load_state_dict(tiny(), tp.state_dict(model))
    assert torch.equal(other(INPUTS), model(INPUTS))


def test_the_plan_of_all_steps_saves_without_pickle(tmp_path):
    model = tiny()
    pruner = tp.pruner.MagnitudePruner(model, INPUTS, pruning_ratio=0.5, iterative_steps=2)
    pruner.step()
    pruner.step()
    tp.save_pruned(model, pruner.DG.plan, tmp_path / "pruned")
    assert torch.equal(tp.load_pruned(tiny(), tmp_path / "pruned").eval()(INPUTS), model(INPUTS))
