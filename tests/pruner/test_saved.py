"""A saved model comes back as it was, onto a fresh one, in another process too; everything else is refused."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from deploy_prune.errors import InputError, PlanError
from deploy_prune.pruner import DependencyGraph, apply_plan
from deploy_prune.pruner.saved import load_pruned, load_state_dict, save_pruned, state_dict

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TOKENS = torch.tensor([[1, 5, 2, 7, 3]])


class Language(nn.Module):
    """A transformer whose head is its embedding, with a buffer that is not persistent and one of whole numbers."""

    def __init__(self):
        super().__init__()
        self.heads, self.width = 2, 8
        self.embedding = nn.Embedding(20, 16)
        self.register_buffer("positions", torch.rand(5, 16), persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.qkv = nn.Linear(16, 48)
        self.project = nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.feed_forward = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens) + self.positions
        batch, length = tokens.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, length, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)
        x = x + self.project(attended.transpose(1, 2).reshape(batch, length, self.heads * self.width))
        return self.head(x + self.feed_forward(x))


def resnet():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None, num_classes=10).eval()


def language():
    torch.manual_seed(0)
    return Language().eval()


def prune(model, inputs, share=0.3):
    """A pruned copy, and the plan that made it."""
    graph = DependencyGraph().build_dependency(model, inputs)
    plan = graph.make_plan({g.name: range(int(g.width * share)) for g in graph.units.groups if g.kind == "channels"})
    return apply_plan(model, plan), plan


def assert_same(found, expected, inputs):
    names = dict((*expected.named_parameters(), *expected.named_buffers()))
    for name, tensor in (*found.named_parameters(), *found.named_buffers()):
        assert tensor.dtype == names[name].dtype and torch.equal(tensor, names[name]), name
    assert torch.equal(found(inputs), expected(inputs))


@pytest.mark.parametrize(("build", "inputs"), [(resnet, IMAGES), (language, TOKENS)])
@torch.no_grad()
def test_there_and_back(tmp_path, build, inputs):
    model, dense = build(), build()
    pruned, plan = prune(model, inputs)
    for tensor in (*pruned.parameters(), *pruned.buffers()):
        tensor.copy_(torch.rand_like(tensor) if tensor.is_floating_point() else tensor + 1)
    path = save_pruned(pruned, plan, tmp_path / "a" / "model")
    assert sorted(file.name for file in path.iterdir()) == ["model.safetensors", "plan.json"]
    loaded = load_pruned(dense, path)
    assert_same(loaded, pruned, inputs)
    assert_same(dense, model, inputs)
    assert not loaded.training


@torch.no_grad()
def test_what_is_tied_stays_tied(tmp_path):
    pruned, plan = prune(language(), TOKENS)
    loaded = load_pruned(language(), save_pruned(pruned, plan, tmp_path))
    assert loaded.head.weight is loaded.embedding.weight
    assert loaded.embedding.weight.shape[1] < 16


@torch.no_grad()
def test_iterative_pruning_is_a_list_of_plans(tmp_path):
    model, plans = language(), []
    for _ in range(3):
        model, plan = prune(model, TOKENS, 0.25)
        plans.append(plan)
    assert_same(load_pruned(language(), save_pruned(model, plans, tmp_path)), model, TOKENS)


@torch.no_grad()
def test_a_model_that_was_not_pruned(tmp_path):
    model = language()
    assert_same(load_pruned(language(), save_pruned(model, [], tmp_path)), model, TOKENS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@torch.no_grad()
def test_the_dtype_is_the_saved_one(tmp_path, dtype):
    pruned, plan = prune(language(), TOKENS)
    loaded = load_pruned(language(), save_pruned(pruned.to(dtype), plan, tmp_path))
    assert {t.dtype for t in loaded.parameters()} == {dtype} and loaded.steps.dtype == torch.long
    assert_same(loaded, pruned, TOKENS)


@torch.no_grad()
def test_saving_again_replaces(tmp_path):
    for share in (0.2, 0.5):
        pruned, plan = prune(language(), TOKENS, share)
        save_pruned(pruned, plan, tmp_path)
    assert_same(load_pruned(language(), tmp_path), pruned, TOKENS)
    assert len(list(tmp_path.iterdir())) == 2


def test_tensors_that_share_memory_or_are_not_contiguous(tmp_path):
    model = nn.Linear(4, 4)
    model.register_buffer("table", torch.arange(3).expand(2, 3))
    model.register_buffer("part", model.weight.detach()[:, 1])
    loaded = load_pruned(copy.deepcopy(model), save_pruned(model, [], tmp_path))
    assert torch.equal(loaded.part, model.weight[:, 1]) and loaded.table.tolist() == [[0, 1, 2]] * 2


FRESH_PROCESS = """
import sys, torch, torchvision
from deploy_prune.pruner.saved import load_pruned
sys.modules["pickle"] = None
model = load_pruned(torchvision.models.resnet18(weights=None, num_classes=10).eval(), sys.argv[1])
with torch.no_grad():
    print(repr(model(torch.full((1, 3, 32, 32), 0.5)).double().sum().item()))
"""


@torch.no_grad()
def test_a_fresh_process(tmp_path):
    pruned, plan = prune(resnet(), IMAGES)
    save_pruned(pruned, plan, tmp_path)
    done = subprocess.run([sys.executable, "-c", FRESH_PROCESS, tmp_path], capture_output=True, text=True, check=False)
    expected = pruned(torch.full((1, 3, 32, 32), 0.5)).double().sum().item()
    assert done.stdout == f"{expected!r}\n", done.stderr


@pytest.fixture
def saved(tmp_path):
    pruned, plan = prune(language(), TOKENS)
    return save_pruned(pruned, plan, tmp_path / "saved")


def refused(folder, model=None):
    with pytest.raises((InputError, PlanError)) as caught:
        load_pruned(model or language(), folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["plan.json", "model.safetensors"])
@pytest.mark.parametrize("where", [0.3, 0.99])
def test_a_flipped_bit(saved, name, where):
    content = bytearray((saved / name).read_bytes())
    content[int(len(content) * where)] ^= 1
    (saved / name).write_bytes(content)
    assert refused(saved).startswith((f"{saved / name} is not as it was saved", f"cannot read the model in {saved}"))


@pytest.mark.parametrize("name", ["plan.json", "model.safetensors"])
def test_a_truncated_file(saved, name):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) // 2])
    assert str(saved) in refused(saved)


@pytest.mark.parametrize("name", ["plan.json", "model.safetensors"])
def test_a_missing_file(saved, name):
    (saved / name).unlink()
    assert refused(saved).startswith(f"cannot read the model in {saved}: [Errno 2] No such file")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plan", "cannot read the model in {}: Expecting value"),
        ("[]", "{}/plan.json is no saved model of schema 1; give a folder written by save_pruned"),
        ('{"schema": 2}', "{}/plan.json is no saved model of schema 1; give a folder written by save_pruned"),
        ('{"schema": 1, "plans": []}', "{}/plan.json is not as it was saved (its sha256 differs)"),
    ],
)
def test_a_file_that_is_no_plan(saved, text, message):
    (saved / "plan.json").write_text(text)
    assert refused(saved).startswith(message.format(saved))


def rewrite(folder, change):
    """Change the content and its checksum with it, as whoever means it would."""
    from deploy_prune.pruner import saved as module

    content = json.loads((folder / "plan.json").read_text())
    del content["sha256"]
    change(content)
    (folder / "plan.json").write_text(json.dumps({**content, "sha256": module._checksum(content)}))


def test_plans_of_the_wrong_form(saved):
    rewrite(saved, lambda content: content["plans"][0].update(widths={"qkv": "all"}))
    assert refused(saved).startswith(f"{saved / 'plan.json'} holds no plans (0.widths.qkv: Input should be a valid")


def test_another_architecture(saved):
    assert refused(saved, nn.Linear(3, 4)).startswith("the plan was made for another architecture (hash ")


def test_weights_of_another_shape(saved):
    rewrite(saved, lambda content: content.update(plans=[]))
    assert "the model after its plans" in refused(saved)


def test_missing_and_extra_tensors(tmp_path):
    folder = save_pruned(nn.Linear(3, 4, bias=False), [], tmp_path)
    assert refused(folder, nn.Linear(3, 4)) == f"{folder} has no tensor 'bias'; give the dense model that was pruned"
    folder = save_pruned(nn.Linear(3, 4), [], tmp_path)
    assert refused(folder, nn.Linear(3, 4, bias=False)).startswith("the model has no tensor 'bias'; give the dense")


def test_a_tensor_of_another_kind(tmp_path):
    model = nn.BatchNorm2d(3)
    folder = save_pruned(model, [], tmp_path)
    other = nn.BatchNorm2d(3)
    other.num_batches_tracked = torch.tensor(0.0)
    assert refused(folder, other).startswith(f"num_batches_tracked in {folder} is torch.int64, in the model torch.fl")


def test_the_model_and_its_plans_must_belong_together(tmp_path):
    model = language()
    pruned, plan = prune(model, TOKENS)
    _, other = prune(model, TOKENS, 0.5)
    for wrong, plans in ((model, plan), (pruned, other), (nn.Linear(3, 4), [plan])):
        with pytest.raises(PlanError, match=r"give the pruned model and all plans that made it, in order"):
            save_pruned(wrong, plans, tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^cannot write the model to .*file: .*; choose another folder$"):
        save_pruned(nn.Linear(3, 4), [], tmp_path / "file")


def test_a_failed_save_leaves_the_old_one(saved):
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    model = nn.Linear(3, 4)
    model.weight.data = torch.zeros(4, 3, dtype=torch.complex128)
    with pytest.raises(KeyError, match="complex128"):
        save_pruned(model, [], saved)
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before


@pytest.mark.parametrize(("build", "inputs"), [(resnet, IMAGES), (language, TOKENS)])
@torch.no_grad()
def test_the_state_that_torch_pruning_users_know(tmp_path, build, inputs):
    pruned, _ = prune(build(), inputs)
    torch.save(state_dict(pruned), tmp_path / "pruned.pth")
    fresh = build()
    loaded = load_state_dict(fresh, state_dict=torch.load(tmp_path / "pruned.pth", weights_only=True))
    assert loaded is fresh
    assert_same(loaded, pruned, inputs)
    assert str(loaded) == str(pruned)


def test_the_state_of_recurrent_layers():
    wide, narrow = nn.LSTM(3, 8), nn.LSTM(3, 5)
    inputs = torch.rand(4, 2, 3)
    load_state_dict(wide, state_dict(narrow))
    assert torch.equal(wide(inputs)[0], narrow(inputs)[0])


def test_the_state_of_what_a_forward_keeps():
    class Anchored(nn.Module):
        """Computes a tensor again only when the shape of its input changes."""

        def __init__(self):
            super().__init__()
            self.layer, self.shape, self.anchors = nn.Linear(3, 4), None, torch.empty(0)

        def forward(self, x):
            if self.shape != x.shape:
                self.shape, self.anchors = x.shape, torch.arange(len(x))[:, None]
            return self.layer(x) + self.anchors

    model, inputs = Anchored(), torch.rand(2, 3)
    expected = model(inputs)
    assert torch.equal(load_state_dict(Anchored(), state_dict(model))(inputs), expected)


def test_a_state_of_another_model():
    state = state_dict(nn.Linear(3, 4))
    with pytest.raises(PlanError, match=r"^the state has other modules than the model; give the dense model"):
        load_state_dict(nn.Sequential(nn.Linear(3, 4)), state)
    with pytest.raises(PlanError, match=r"^the model has no tensor 'bias'; give the dense model that was pruned$"):
        load_state_dict(nn.Linear(3, 4, bias=False), state)
    with pytest.raises(InputError, match=r"^this is no state of a pruned model; give what"):
        load_state_dict(nn.Linear(3, 4), nn.Linear(3, 4).state_dict())
