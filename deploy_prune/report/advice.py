"""When pruning is the wrong tool: rules over the numbers of a run, each with its criterion."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from deploy_prune.report.explanation import Explanation, FloorReport

FLOOR_SHARE = 0.6
"""A floor above this share of the budget leaves less than 40 % of it to what widths decide."""
GLUE_SHARE = 0.5
"""Above this share of the pruned time most of it is spent in nodes that multiply nothing."""
COMPUTE_SHARE = 0.5
"""Above this share of the pruned time most of it is arithmetic, which INT8 kernels do in less time."""
FIXED_SHARE = 0.3
"""What no width changes, as a share of the budget, from which on it is worth changing itself."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """What the rules read, in milliseconds and shares."""

    budget_ms: float
    explanation: Explanation
    floor: FloorReport

    def share(self, name: str) -> float:
        """A part's share of the pruned time."""
        return sum(part.pruned_ms for part in self.explanation.parts if part.name == name) / self.explanation.pruned_ms

    @property
    def floor_share(self) -> float:
        """The floor as a share of the budget."""
        return self.floor.total_ms / self.budget_ms

    @property
    def fixed_share(self) -> float:
        """What no width decides, post-processing and frozen layers, as a share of the budget."""
        return (self.floor.frozen_ms + self.floor.post_processing_ms) / self.budget_ms


@dataclasses.dataclass(frozen=True)
class Rule:
    """A criterion in words and as a function, the figure that it looks at, and what to do where it holds."""

    criterion: str
    figure: Callable[[Figures], float]
    limit: float
    advice: str

    def holds(self, found: Figures) -> bool:
        """Whether the figure is above the limit."""
        return self.figure(found) > self.limit


RULES = (
    Rule(
        f"the floor is above {FLOOR_SHARE:.0%} of the budget",
        lambda found: found.floor_share,
        FLOOR_SHARE,
        "take a smaller dense model of the family, or a lower input resolution, and prune that: little of the budget "
        "is left to widths",
    ),
    Rule(
        f"nodes without MACs take above {GLUE_SHARE:.0%} of the pruned time",
        lambda found: found.share("glue"),
        GLUE_SHARE,
        "lower the input resolution: it shrinks activations, reorders and resizes, which widths shrink less",
    ),
    Rule(
        f"frozen layers and post-processing take above {FIXED_SHARE:.0%} of the budget",
        lambda found: found.fixed_share,
        FIXED_SHARE,
        "move the post-processing out of the file, or free the frozen layers ('What could not be pruned' says why "
        "they are): no width changes them",
    ),
    Rule(
        f"nodes bound by overhead, with MACs, take above {COMPUTE_SHARE:.0%} of the pruned time",
        lambda found: found.share("overhead"),
        COMPUTE_SHARE,
        "take a dense model of fewer layers, or let whole branches go (search.remove_branches=true): narrower layers "
        "are hardly faster",
    ),
    Rule(
        f"nodes bound by compute take above {COMPUTE_SHARE:.0%} of the pruned time",
        lambda found: found.share("compute"),
        COMPUTE_SHARE,
        "try INT8, of the dense or of the pruned model: most of the time is arithmetic",
    ),
)


@dataclasses.dataclass(frozen=True)
class Advice:
    """A rule that holds, with the figure that made it hold."""

    criterion: str
    figure: float
    advice: str


def advise(budget_ms: float, explanation: Explanation, floor: FloorReport) -> tuple[Advice, ...]:
    """The advice of every rule that holds, in order of the table."""
    found = Figures(budget_ms, explanation, floor)
    return tuple(Advice(rule.criterion, rule.figure(found), rule.advice) for rule in RULES if rule.holds(found))
