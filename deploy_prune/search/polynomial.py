"""Sums of products of widths: what parameters, multiplications and bytes of a network are, as functions of its widths.

An axis of a tensor has so many indices as its groups keep, each unit being some of them, and as stay anyway: a sum. The
elements of a tensor are a product of such sums, and so are the multiplications of a layer. All coefficients are whole
numbers and none is negative.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt

from deploy_prune.latency.tables import CostTables

Floats = npt.NDArray[np.float64]
Factors = tuple[str, ...]
"""Groups whose widths are multiplied, sorted; a group twice is its width squared, none is the number one."""


@dataclass(frozen=True)
class Polynomial:
    """``sum of terms[groups] * product of the groups' widths``."""

    terms: Mapping[Factors, int] = field(default_factory=dict)

    @classmethod
    def constant(cls, value: int) -> Polynomial:
        """A number that no width changes."""
        return cls({(): value} if value else {})

    def __add__(self, other: Polynomial) -> Polynomial:
        return Polynomial(dict(Counter(self.terms) + Counter(other.terms)))

    def __mul__(self, other: Polynomial) -> Polynomial:
        terms: Counter[Factors] = Counter()
        for left, a in self.terms.items():
            for right, b in other.terms.items():
                terms[tuple(sorted((*left, *right)))] += a * b
        return Polynomial(dict(terms))

    def at(self, widths: Mapping[str, int]) -> int:
        """The value at these widths."""
        return sum(c * prod(widths[g] for g in groups) for groups, c in self.terms.items())


@dataclass(frozen=True)
class Work:
    """An amount by widths: ``always``, and what a branch has of it while that branch is there, by the branch's groups.

    The groups of a branch have width 0 all together; terms with one of them vanish by themselves.
    """

    always: Polynomial = field(default_factory=Polynomial)
    inside: Mapping[tuple[str, ...], Polynomial] = field(default_factory=dict)

    def at(self, widths: Mapping[str, int]) -> int:
        """The amount at these widths, exact."""
        there = (part for branch, part in self.inside.items() if widths[branch[0]])
        return self.always.at(widths) + sum(part.at(widths) for part in there)

    def tables(self, menu: Mapping[str, Sequence[int]], scale: float = 1.0) -> CostTables:
        """``scale`` times the amount as cost tables over ``menu``.

        Exact where each term has at most two groups (with the one whose width 0 says that its branch is gone). In a
        term of more, only the two whose narrowest width is the smallest share count with their widths, the others with
        their full ones: an upper bound, equal where these are full, and never too little.
        """
        sums = _Sums({g: np.array(w, dtype=float) for g, w in menu.items()})
        for groups, coefficient in self.always.terms.items():
            sums.add(groups, scale * coefficient, None)
        for branch, part in self.inside.items():
            for groups, coefficient in part.terms.items():
                sums.add(groups, scale * coefficient, None if set(branch) & set(groups) else branch[0])
        return CostTables({g: tuple(w) for g, w in menu.items()}, sums.constant, sums.unary, sums.pair)

    def is_exact(self) -> bool:
        """Whether tables hold every term without a bound."""
        gated = ((g, branch) for branch, part in self.inside.items() for g in part.terms)
        return all(len(set(g)) <= 2 for g in self.always.terms) and all(
            len(set(groups)) + (not set(branch) & set(groups)) <= 2 for groups, branch in gated
        )


class _Sums:
    """Running sums of cost tables."""

    def __init__(self, widths: Mapping[str, Floats]) -> None:
        self.widths = widths
        self.rank = {g: k for k, g in enumerate(widths)}
        self.constant = 0.0
        self.unary: dict[str, Floats] = {}
        self.pair: dict[tuple[str, str], Floats] = {}

    def add(self, groups: Factors, coefficient: float, gate: str | None) -> None:
        """Add a term; ``gate`` is the group at whose width 0 it vanishes although it is no factor."""
        powers = Counter(groups)
        factors = {g: self.widths[g] ** power for g, power in powers.items()}
        if gate is not None:
            factors[gate] = (self.widths[gate] > 0).astype(float)
        by_range = sorted(factors, key=lambda g: factors[g].min() / factors[g].max())
        bounded = coefficient * float(np.prod([factors[g].max() for g in by_range[2:]]))
        kept = sorted(by_range[:2], key=self.rank.__getitem__)
        if not kept:
            self.constant += bounded
        elif len(kept) == 1:
            self.unary[kept[0]] = self.unary.get(kept[0], 0.0) + bounded * factors[kept[0]]
        else:
            one, two = kept
            self.pair[one, two] = self.pair.get((one, two), 0.0) + bounded * np.outer(factors[one], factors[two])


def dominating(parts: Sequence[Polynomial]) -> list[Polynomial]:
    """The sums of which one is the largest at any widths: those without another that has no smaller coefficient."""
    kept: list[Polynomial] = []
    for part in sorted(parts, key=lambda p: -sum(p.terms.values())):
        if not any(all(other.terms.get(g, 0) >= c for g, c in part.terms.items()) for other in kept):
            kept.append(part)
    return kept
