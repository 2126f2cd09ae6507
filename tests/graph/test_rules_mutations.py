"""A wrong rule never goes unnoticed: each rule is spoilt in turn, and some micro model's oracle must fail.

Two ways to spoil a rule: forget what it records, and hand its atoms on moved by one place. A rule that has nothing to
forget, or nothing to hand on, is spoilt the other way only.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from zoo.topologies import BODIES, build

from deploy_prune.graph.rules import RULES
from deploy_prune.graph.trace import trace
from deploy_prune.graph.values import Value
from deploy_prune.pruner import DependencyGraph, apply_plan, verify

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
FUNCTIONS = {function.__name__: function for function in RULES.values()}

NOT_ON_THIS_DEVICE = {
    "other_convolution", "fused_cell", "library_network", "whole_network", "whole_product", "movedim",
    "repeat_interleave",
}  # fmt: skip
"""Rules for operators that other devices' backends call, or that torch takes apart before; tried by hand only."""

BY_HAND_ONLY = {
    "bilinear", "creation", "cross_product", "decomposition", "diagonal", "embedding_bag", "expert_product", "in_order",
    "per_channel", "quarter_turn", "reading", "renorm", "restride", "summed_batch_product", "triangle", "windows",
    "written_part",
}  # fmt: skip
"""Rules that no micro model needs."""

HARMLESS: set[tuple[str, str]] = set()
"""Spoilt rules that change nothing: what they record is implied by what other rules record."""


def forgets(call, function):
    """The rule's values; nothing that it recorded."""
    marks = [len(facts) for facts in call.facts.lists()]
    values = function(call)
    for facts, mark in zip(call.facts.lists(), marks, strict=True):
        del facts[mark:]
    return values


def moves(call, function):
    """The rule's values with atoms moved by one place."""
    return [Value(v.shape, tuple(replace(b, atoms=np.roll(b.atoms, 1, -1)) for b in v.blocks)) for v in function(call)]


SPOILS = {"forgets": forgets, "moves": moves}


@cache
def users():
    """Which micro models each spoilt rule changes, those with few operators first."""
    found = {(name, spoil): [] for name in FUNCTIONS for spoil in SPOILS}
    seen, size = {}, {}
    originals = dict(RULES)

    def heard(function):
        def rule(call):
            marks = [len(facts) for facts in call.facts.lists()]
            values = function(call)
            size[body] += 1
            if any(v.blocks for v in values):
                seen[body].add((function.__name__, "moves"))
            if any(len(facts) > mark for facts, mark in zip(call.facts.lists(), marks, strict=True)):
                seen[body].add((function.__name__, "forgets"))
            return values

        return rule

    try:
        RULES.update({name: heard(function) for name, function in originals.items()})
        for body in BODIES:
            seen[body], size[body] = set(), 0
            trace(build(body), IMAGES)
    finally:
        RULES.update(originals)
    for body in sorted(BODIES, key=size.get):
        for key in seen[body]:
            found[key].append(body)
    return found


def passes(body):
    """Whether a random removal from the micro model, of different shares of its groups, stands the oracle."""
    model, chance = build(body), np.random.default_rng(0)
    try:
        graph = DependencyGraph().build_dependency(model, IMAGES)
        removed = {}
        for group in graph.units.groups:
            count = max(1, int(group.width * chance.uniform(0.2, 0.7)))
            removed[group.name] = [chance.choice(group.width, count, replace=False) for _ in range(group.rows)]
        plan = graph.make_plan(removed)
        verify(model, apply_plan(model, plan), plan, IMAGES)
    except Exception:
        return False
    return True


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - NOT_ON_THIS_DEVICE - BY_HAND_ONLY))
def test_a_spoilt_rule_is_caught(name, spoil, monkeypatch):
    function = FUNCTIONS[name]
    spoilt = {o: lambda call: SPOILS[spoil](call, function) for o, rule in RULES.items() if rule is function}
    bodies = users()[name, spoil]
    for body in bodies:
        with monkeypatch.context() as patch:
            for operator, wrong in spoilt.items():
                patch.setitem(RULES, operator, wrong)
            caught = not passes(body)
        if caught and passes(body):
            return
    assert not bodies or (name, spoil) in HARMLESS, f"nobody notices that {name} {spoil}: tried {bodies}"


def test_every_rule_is_used_or_listed():
    unused = set(FUNCTIONS) - {name for (name, _), bodies in users().items() if bodies}
    assert unused == NOT_ON_THIS_DEVICE | BY_HAND_ONLY
