"""Torch-Pruning on a model of the zoo, used as its README and examples say, and judged by the same oracle.

It is given the layers to ignore (those that make the model's output, which this package finds), the number of heads of
every attention, and after pruning the attributes that its examples update by hand. What it removed is read from the
result: while it prunes, every weight holds its own number.
"""

import copy
import math
import time

import numpy as np
import torch
import torch_pruning
from torch import nn
from zoo.judge import REACHES_OUTPUT, is_out, judge_result, parameters, tensors_of

from deploy_prune.pruner import DependencyGraph
from deploy_prune.pruner.plan import AttributeChange, AxisCut, Plan

PROJECTIONS = ("qkv", "query", "key", "value", "q_proj", "k_proj", "v_proj", "q", "k", "v", "c_attn", "query_key_value")
"""Names of layers that project to heads."""

HEADS = ("num_heads", "num_attention_heads", "n_heads", "heads")
KEY_HEADS = ("num_key_value_heads", "num_kv_heads")


def judge_peer(outcome, case, ratio):
    """Fill an outcome with what Torch-Pruning makes of a model."""
    outcome.parameters = parameters(case.model)
    candidate = copy.deepcopy(case.model)
    ignored = output_layers(candidate, case)
    heads = heads_of(candidate)
    started = time.perf_counter()
    pruner = torch_pruning.pruner.BasePruner(
        candidate, case.inputs, torch_pruning.importance.RandomImportance(), pruning_ratio=ratio,
        ignored_layers=ignored, num_heads=heads, **whole_heads(candidate, ratio),
        **{k: v for k, v in case.options.items() if v is not None},
    )  # fmt: skip
    outcome.build_s = time.perf_counter() - started
    number(candidate)
    outcome.stage = "prune"
    started = time.perf_counter()
    pruner.step()
    outcome.prune_s = time.perf_counter() - started
    update_attributes(candidate, pruner.num_heads)
    if len(list(candidate.parameters())) != len(list(case.model.parameters())):
        raise AssertionError("parameters that were one before pruning are two after it")
    judge_result(outcome, case, candidate, plan_of(case.model, candidate))


def output_layers(model, case):
    """Layers whose outputs reach the model's output; of Ultralytics' detectors the whole head, as documented."""
    modules = dict(model.named_modules())
    graph = DependencyGraph().build_dependency(model, case.inputs, **case.options)
    found = {
        s.parameter.rpartition(".")[0]
        for group in graph.frozen
        for s in group.slices
        if group.reason.startswith(REACHES_OUTPUT) and is_out(modules, s.parameter, s.axis)
    }
    layers = [modules[name] for name in sorted(found)]
    if type(model).__module__.startswith("ultralytics"):
        layers.append(model.model[-1])
    return layers


def heads_of(model):
    """Heads of every projection, from the attribute of the attention that holds it or of the model's configuration."""
    heads = {}
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            heads[module] = module.num_heads
            continue
        for name, child in module.named_children():
            if name in PROJECTIONS and isinstance(child, nn.Linear):
                names = (*KEY_HEADS, *HEADS) if name in {"k_proj", "v_proj"} else HEADS
                count = first(module, names) or first(getattr(model, "config", None), names)
                if count:
                    heads[child] = count
    return heads


def whole_heads(model, ratio):
    """Rotary embeddings fix the size of a head, so that language models lose whole heads, as its example does."""
    rotary = any("Rotary" in type(module).__name__ for module in model.modules())
    return {"prune_num_heads": True, "prune_head_dims": False, "head_pruning_ratio": ratio} if rotary else {}


def first(owner, names):
    return next((v for v in (getattr(owner, name, None) for name in names) if isinstance(v, int)), None)


def update_attributes(model, heads):
    """What the examples set by hand: numbers and sizes of heads, widths of configurations."""
    for module in model.modules():
        if isinstance(getattr(module, "channels", None), int) and isinstance(getattr(module, "conv", None), nn.Conv2d):
            module.channels, module.out_channels = module.conv.in_channels, module.conv.out_channels
        for name, child in module.named_children():
            if child not in heads or not isinstance(child, nn.Linear):
                continue
            width = child.out_features // (3 if name in {"qkv", "c_attn", "query_key_value"} else 1)
            sizes = {"head_dim": width // heads[child], "attention_head_size": width // heads[child]}
            sizes |= dict.fromkeys(("all_head_size", "attn_dim", "embed_dim", "dim", "inner_dim"), width)
            if name not in {"k_proj", "v_proj"}:
                for key, value in {**sizes, **dict.fromkeys(HEADS, heads[child])}.items():
                    if isinstance(module.__dict__.get(key), int):
                        setattr(module, key, value)
        if getattr(module, "num_key_value_groups", None) and getattr(module, "q_proj", None) in heads:
            module.num_key_value_groups = heads[module.q_proj] // heads[module.k_proj]
    if hasattr(model, "conv_proj") and hasattr(model, "hidden_dim"):
        model.hidden_dim = model.conv_proj.out_channels


def number(model):
    """Every floating weight and buffer holds the positions of its own elements."""
    model.double()
    with torch.no_grad():
        for tensor in tensors_of(model).values():
            if tensor.is_floating_point():
                tensor.copy_(torch.arange(tensor.numel(), dtype=torch.float64).view(tensor.shape))


def plan_of(original, pruned):
    """Give a numbered model its original values back; the plan that says what it lost."""
    before, cuts = tensors_of(original), []
    own = {*dict(original.named_parameters()), *dict(original.named_buffers())}
    for name, tensor in tensors_of(pruned).items():
        if name not in before or not tensor.is_floating_point():
            continue
        source, places = before[name], tensor.detach().long()
        tensor.data = source.detach().reshape(-1)[places]
        kept = [np.unique(k) for k in np.unravel_index(places.numpy().ravel(), source.shape or (1,))]
        if math.prod(map(len, kept)) != places.numel():
            raise AssertionError(f"{name} kept elements that are no rows and columns")
        for axis, indices in enumerate(kept[: source.ndim]):
            if name in own and len(indices) < source.shape[axis]:
                cuts.append(AxisCut(name, axis, source.shape[axis], tuple(indices.tolist())))
    return Plan({}, tuple(cuts), tuple(changes(original, pruned)), "")


def changes(original, pruned):
    """Integer attributes of modules outside torch that are not what they were."""
    after = dict(pruned.named_modules())
    for name, module in original.named_modules():
        if name in after and not type(module).__module__.startswith("torch.nn"):
            for key, value in vars(module).items():
                new = vars(after[name]).get(key)
                if type(value) is type(new) is int and value != new:
                    yield AttributeChange(name, (key,), new)
