"""A pruned model is a model like any other: it trains, compiles, exports, copies, pickles and computes its losses."""

import copy
import io
from functools import cache, partial
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import nn
from torch.utils import _pytree as pytree
from zoo.topologies import enliven

from deploy_prune.graph.calling import call_model, plain
from deploy_prune.importance import RandomImportance
from deploy_prune.pruner import BasePruner

IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randint(1, 90, (2, 7), generator=torch.Generator().manual_seed(0))
VISION, SEGMENTATION = torchvision.models, torchvision.models.segmentation


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(90, 12)
        self.lstm = nn.LSTM(12, 10, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(20, 14, batch_first=True)
        self.head = nn.Linear(14, 5)

    def forward(self, tokens):
        return self.head(self.gru(self.lstm(self.embed(tokens))[0])[0])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(90, 24)
        self.layer = nn.TransformerEncoderLayer(24, 4, 40, batch_first=True)
        self.attention = nn.MultiheadAttention(24, 4, batch_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, tokens):
        x = self.layer(self.embed(tokens))
        return self.head(self.attention(x, x, x, need_weights=False)[0])


def timm_model(name, **options):
    return pytest.importorskip("timm").create_model(name, num_classes=5, **options)


def language_model(kind, config, **options):
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 90, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "max_position_embeddings": 16, "use_cache": False}
    return getattr(transformers, kind)(getattr(transformers, config)(**sizes, **heads, **options))


def yolo():
    return pytest.importorskip("ultralytics").YOLO("yolov8n.yaml").model


MODELS = {
    "resnet18": (partial(VISION.resnet18, num_classes=5), IMAGE),
    "googlenet": (partial(VISION.googlenet, num_classes=5, init_weights=False), IMAGE),
    "mobilenet_v3": (partial(VISION.mobilenet_v3_small, num_classes=5), IMAGE),
    "deeplab": (
        partial(SEGMENTATION.deeplabv3_mobilenet_v3_large, weights_backbone=None, aux_loss=True, num_classes=5), IMAGE,
    ),
    "vit": (partial(timm_model, "vit_tiny_patch16_224", img_size=64, depth=2), IMAGE),
    "llama": (partial(language_model, "LlamaForCausalLM", "LlamaConfig", num_key_value_heads=2), {"input_ids": TOKENS}),
    "bert": (partial(language_model, "BertForMaskedLM", "BertConfig"), {"input_ids": TOKENS}),
    "recurrent": (Recurrent, TOKENS),
    "attention": (Attention, TOKENS),
    "yolov8n": (yolo, IMAGE),
}  # fmt: skip
COMPILED = EXPORTED = ("resnet18", "vit", "llama", "recurrent", "attention")
SCRIPTED = ("resnet18", "mobilenet_v3", "vit", "recurrent", "attention")


@cache
def pair(name):
    """A dense model and its pruned copy; tests leave both as they are."""
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    dense = enliven(make())
    pruned = copy.deepcopy(dense)
    BasePruner(
        pruned, inputs, RandomImportance(), pruning_ratio=0.3, prune_num_heads=True, head_pruning_ratio=0.5
    ).step()
    assert size(pruned) < 0.85 * size(dense)
    return dense, pruned, inputs


def size(model):
    return sum(p.numel() for p in model.parameters())


def outputs(model, inputs):
    """All floating tensors that a model returns."""
    torch.manual_seed(0)
    return floating(call_model(model, inputs))


def floating(output):
    return [t for t in pytree.tree_leaves(plain(output)) if isinstance(t, torch.Tensor) and t.is_floating_point()]


def agree(expected, got):
    return len(expected) == len(got) and all(
        torch.allclose(a, b, atol=1e-4) for a, b in zip(expected, got, strict=True)
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_both_modes_run(name, training):
    dense, pruned, inputs = (copy.deepcopy(x) for x in pair(name))
    with torch.no_grad():
        before, after = (outputs(model.train(training), inputs) for model in (dense, pruned))
    assert [t.shape for t in after] == [t.shape for t in before]
    assert all(t.isfinite().all() for t in after)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_still_learns(name):
    dense, pruned, inputs = (copy.deepcopy(x) for x in pair(name))
    for model in (dense, pruned):
        backpropagate(model.train(), outputs(model, inputs))
    learns(dense, pruned)
    before = [p.detach().clone() for p in pruned.parameters()]
    torch.optim.AdamW(pruned.parameters(), lr=1e-3).step()
    assert any(not torch.equal(a, b) for a, b in zip(before, pruned.parameters(), strict=True))
    assert all(t.isfinite().all() for t in outputs(pruned, inputs))


def backpropagate(model, losses):
    sum(t.square().mean() for t in losses if t.requires_grad).backward()


def learns(dense, pruned):
    """Gradients are finite, and stand wherever they stood in the dense model."""
    gradients = {n: p.grad for n, p in pruned.named_parameters()}
    learned = {n for n, p in dense.named_parameters() if p.grad is not None}
    assert learned and learned == {n for n, g in gradients.items() if g is not None}
    for name, parameter in pruned.named_parameters():
        if name in learned:
            assert gradients[name].shape == parameter.shape and gradients[name].isfinite().all(), name


@pytest.mark.parametrize("name", COMPILED)
def test_it_compiles(name):
    _, pruned, inputs = pair(name)
    torch._dynamo.reset()
    with torch.no_grad():
        assert agree(outputs(pruned, inputs), outputs(torch.compile(pruned, backend="aot_eager"), inputs))


@pytest.mark.parametrize("name", EXPORTED)
def test_it_exports(name):
    _, pruned, inputs = pair(name)
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else ((inputs,), {})
    with torch.no_grad():
        exported = torch.export.export(pruned, args, kwargs).module()
        assert agree(outputs(pruned, inputs), outputs(exported, inputs))


@pytest.mark.parametrize("name", SCRIPTED)
def test_it_is_traced_by_torchscript(name):
    _, pruned, inputs = pair(name)
    with torch.no_grad():
        traced = torch.jit.trace(pruned, inputs, check_trace=False)
        assert agree(outputs(pruned, inputs), outputs(traced, inputs))


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "recurrent", "yolov8n"])
def test_onnx_computes_the_same(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    _, pruned, inputs = pair(name)
    file = io.BytesIO()
    torch.onnx.export(pruned, (inputs,), file, dynamo=False, input_names=["x"])
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (first, *_) = session.run(None, {"x": inputs.numpy()})
    with torch.no_grad():
        assert torch.allclose(outputs(pruned, inputs)[0], torch.from_numpy(first), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_copies_pickles_and_state_dicts(name):
    dense, pruned, inputs = pair(name)
    file = io.BytesIO()
    torch.save(pruned, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    refilled = copy.deepcopy(pruned)
    for parameter in refilled.parameters():
        parameter.data.fill_(0.1)
    refilled.load_state_dict(pruned.state_dict())
    with torch.no_grad():
        expected = outputs(pruned, inputs)
        for other in (copy.deepcopy(pruned), loaded, refilled):
            assert agree(expected, outputs(other, inputs))
    tied = [len({id(p) for p in m.parameters()}) for m in (dense, pruned, loaded)]
    assert len(set(tied)) == 1


def test_losses_of_a_detector_with_proposals():
    torch.manual_seed(0)
    detection = torchvision.models.detection
    dense = detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=64, max_size=64, box_detections_per_img=5
    )  # fmt: skip
    targets = [{"boxes": torch.tensor([[4.0, 4, 30, 40]]), "labels": torch.tensor([1])} for _ in range(2)]
    inputs = (list(IMAGE), targets)
    pruned = copy.deepcopy(enliven(dense))
    BasePruner(pruned, inputs, RandomImportance(), pruning_ratio=0.3).step()
    assert size(pruned) < 0.85 * size(dense)
    for model in (dense, pruned):
        sum(model.train()(*copy.deepcopy(inputs)).values()).backward()
    learns(dense, pruned)
    with torch.no_grad():
        assert set(pruned.eval()(list(IMAGE))[0]) == {"boxes", "labels", "scores"}


def test_losses_of_yolo():
    dense, pruned, _ = (copy.deepcopy(x) for x in pair("yolov8n"))
    batch = {
        "img": IMAGE, "batch_idx": torch.tensor([0.0, 1.0]), "cls": torch.tensor([[1.0], [2.0]]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.6], [0.4, 0.4, 0.5, 0.5]]),
    }  # fmt: skip
    for model in (dense, pruned):
        model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
        loss = model.train().loss(batch)[0].sum()
        assert loss.isfinite() and loss > 0
        loss.backward()
    learns(dense, pruned)


def test_yolo_is_fused_and_exported_in_its_own_way():
    _, pruned, _ = (copy.deepcopy(x) for x in pair("yolov8n"))
    with torch.no_grad():
        (expected, *_) = outputs(pruned, IMAGE)
        pruned.fuse(verbose=False)
        for block in pruned.model:
            if hasattr(block, "forward_split"):
                block.forward = block.forward_split
        pruned.model[-1].export, pruned.model[-1].format = True, "torchscript"
        assert agree([expected], outputs(torch.jit.trace(pruned, IMAGE, check_trace=False), IMAGE))
