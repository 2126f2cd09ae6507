"""Prune one model at random and judge the result: it runs and trains, and equals the masked original."""

import collections
import contextlib
import dataclasses
import functools
import time

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree
from zoo.outcome import OK

from deploy_prune.errors import VerificationError
from deploy_prune.graph.calling import call_model
from deploy_prune.pruner import DependencyGraph, apply_plan, verify
from deploy_prune.pruner.dependency import is_out_axis

LEAST_SHARE = 0.2
"""Share of the parameters that a removal of 30 % of the channels must take at least."""

REACHES_OUTPUT = "reaches the model's output"


def judge_ours(outcome, case, ratio, heads=False, mistakes=0, seed=0):
    """Fill an outcome with what this package makes of a model."""
    count = parameters(case.model)
    outcome.parameters = count
    started = time.perf_counter()
    graph = DependencyGraph().build_dependency(case.model, case.inputs, **case.options)
    outcome.build_s = time.perf_counter() - started
    describe(outcome, graph)
    outcome.stage = "prune"
    started = time.perf_counter()
    plan = graph.make_plan(random_removal(graph.units, ratio, heads, seed))
    pruned = apply_plan(case.model, plan)
    outcome.prune_s = time.perf_counter() - started
    judge_result(outcome, case, pruned, plan)
    outcome.unseen = unseen_mistakes(case, plan, mistakes)


def judge_result(outcome, case, pruned, plan):
    """Run, verify and train a pruned model; ``plan`` tells the oracle what was removed."""
    outcome.removed_share = 1 - parameters(pruned) / outcome.parameters
    outcome.stage = "eval"
    attempt(outcome, case, pruned, infer, "run")
    outcome.stage = "verify"
    started = time.perf_counter()
    errors = verify(case.model, pruned, plan, case.inputs, **case.options)
    outcome.verify_s = time.perf_counter() - started
    outcome.eval_error, outcome.train_error, outcome.dtype = errors.eval_error, errors.train_error, errors.dtype
    outcome.stage = "train"
    attempt(outcome, case, pruned, backward, "train")
    outcome.stage = "share"
    if outcome.removed_share < LEAST_SHARE:
        raise AssertionError(f"{outcome.removed_share:.1%} of the parameters went, {LEAST_SHARE:.0%} expected")
    outcome.status, outcome.stage = OK, ""


def unseen_mistakes(case, plan, count, seed=0):
    """Weights of which the oracle does not notice that one wrong slice was removed, out of ``count`` tried."""
    cuts = [c for c in plan.cuts if c.parameter in dict(case.model.named_parameters())]
    unseen = []
    for at in np.random.default_rng(seed).choice(len(cuts), min(count, len(cuts)), replace=False):
        cut = cuts[at]
        gone = next(i for i in range(cut.size) if i not in cut.kept)
        moved = dataclasses.replace(cut, kept=tuple(sorted({*cut.kept[1:], gone})))
        wrong = dataclasses.replace(plan, cuts=tuple(moved if c is cut else c for c in plan.cuts))
        with contextlib.suppress(VerificationError):
            verify(case.model, apply_plan(case.model, wrong), plan, case.inputs, **case.options)
            unseen.append(f"{cut.parameter}[{cut.axis}]")
    return unseen


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def tensors_of(model):
    """Parameters and buffers by name; tied ones by each of their names."""
    return dict((*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)))


def run(model, case, training):
    model.train(training)
    return (case.forward_fn or call_model)(model, case.inputs)


def attempt(outcome, case, pruned, use, verb):
    """Use a pruned model; what the model could not do before pruning is only noted."""
    try:
        use(pruned, case)
    except Exception:
        try:
            use(case.model, case)
        except Exception as before:
            reason = (str(before) or type(before).__name__).splitlines()[0][:120]
            outcome.notes.append(f"does not {verb} before pruning either: {reason}")
            return
        raise


def infer(model, case):
    """Forward in eval mode."""
    with torch.no_grad():
        run(model, case, training=False)


def backward(model, case):
    """Forward in train mode and backward."""
    output = run(model, case, training=True)
    tensors = [t for t in pytree.tree_leaves(output_leaves(output)) if isinstance(t, torch.Tensor)]
    sum(t.sum() for t in tensors if t.is_floating_point() and t.requires_grad).backward()
    model.zero_grad(set_to_none=True)


def output_leaves(output):
    """Output objects that pytree does not know, as dicts."""
    return output if isinstance(output, torch.Tensor | dict | list | tuple) else vars(output)


def random_removal(units, ratio, heads=False, seed=0):
    """``ratio`` of every group of channels (or of heads too), at least one; where rows may differ, they do."""
    chance = np.random.default_rng(seed)
    removed = {}
    for group in units.groups:
        if group.kind == "channels" or heads:
            count = max(int(group.width * ratio), 1)
            rows = [chance.choice(group.width, count, replace=False) for _ in range(group.rows)]
            removed[group.name] = np.stack(rows) if len(rows) > 1 else rows[0]
    return removed


def describe(outcome, graph):
    """Groups, unknown operators, and how many output channels are free, with the reasons for the rest."""
    units, modules = graph.units, dict(graph.model.named_modules())
    outcome.groups, outcome.unknown = len(units.groups), dict(units.unknown)
    outs = functools.cache(lambda parameter, axis: is_out(modules, parameter, axis))
    free = collections.defaultdict(set)
    for group in units.groups:
        for s in group.slices:
            if outs(s.parameter, s.axis):
                free[s.parameter].update(s.indices.ravel().tolist())
    stays = collections.Counter()
    for group in units.frozen:
        for s in group.slices:
            if outs(s.parameter, s.axis) and not group.reason.startswith(REACHES_OUTPUT):
                why = f"{group.reason} [{group.place.operator} {group.place.source}]"
                stays[why] += len(set(s.indices.ravel().tolist()) - free[s.parameter])
    kept = sum(map(len, free.values()))
    outcome.free_share = kept / max(kept + sum(stays.values()), 1)
    outcome.reasons = dict(stays.most_common(8))


def is_out(modules, parameter, axis):
    """Whether an axis counts a weight's outputs; an embedding's are its columns."""
    owner, _, name = parameter.rpartition(".")
    module = modules[owner]
    weight = dict(module.named_parameters(recurse=False)).get(name)
    if weight is None or weight.ndim < 2 or not name.endswith("weight"):
        return False
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) or type(module).__name__ == "Conv1D":
        return axis == 1
    return is_out_axis(module, "weight", axis)
