"""Which groups compete with which: a scope is a set of groups that loses a ratio together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from deploy_prune.pruner.arguments import refuse_strangers
from deploy_prune.pruner.group import Group
from deploy_prune.pruner.settings import Ratios, Settings


@dataclass(frozen=True)
class Scope:
    """Groups that are ranked together, and the share that they lose in the end."""

    ratio: float
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class NamedRatio:
    """A ratio that the user gave for a module; ``key`` is the same for all modules of one entry."""

    key: int
    ratio: float


def ratios_by_module(model: nn.Module, named: Ratios) -> dict[nn.Module, NamedRatio]:
    """Ratios of each named module (or tuple of modules) and all modules inside; the innermost name wins.

    Raises:
        InputError: a name is no module of the model.
    """
    if not named:
        return {}
    known = {m: n for n, m in model.named_modules()}
    flat: list[tuple[nn.Module, NamedRatio]] = []
    for key, (modules, ratio) in enumerate(named.items()):
        entry = modules if isinstance(modules, (tuple, list)) else (modules,)
        refuse_strangers(known, entry, "pruning_ratio_dict", types=False)
        flat += [(module, NamedRatio(key, float(ratio))) for module in entry]
    flat.sort(key=lambda item: known[item[0]].count(".") if known[item[0]] else -1)
    return {inner: ratio for module, ratio in flat for inner in module.modules()}


def named_ratio(group: Group, named: Mapping[nn.Module, NamedRatio]) -> NamedRatio | None:
    """The ratio given for the first layer of a group, root first, whose outputs it holds and that has one."""
    if not named:
        return None
    found = (named.get(dep.layer) for dep, _ in group if dep.out)
    return next((ratio for ratio in found if ratio is not None), None)


def find_scopes(
    groups: Iterable[Group], settings: Settings, named: Mapping[nn.Module, NamedRatio], default: float
) -> list[Scope]:
    """Scopes of the groups: each by itself, or, for global pruning, by named ratio, structure or all together."""
    found: dict[Hashable, list[Group]] = {}
    ratios: dict[Hashable, float] = {}
    for group in groups:
        given = named_ratio(group, named)
        key: Hashable = "all"
        if not settings.global_pruning:
            key = group.name
        elif given is not None:
            key = given.key
        elif settings.isomorphic:
            key = structure(group)
        found.setdefault(key, []).append(group)
        ratios[key] = default if given is None else given.ratio
    return [Scope(ratios[key], tuple(members)) for key, members in found.items()]


def structure(group: Group) -> Hashable:
    """Equal for isomorphic groups: the types of their layers, and whether in- or outputs go, in order of execution."""
    return tuple((type(dep.layer), dep.parameter, dep.out) for dep, _ in group)
