"""A bench on which one operator's rule is tried by hand."""

from deploy_prune.graph.facts import Facts
from deploy_prune.graph.rules.table import RULES, Call
from deploy_prune.graph.values import Block, Value


class Bench:
    """Values with atoms numbered from 0 in the order in which they are made, and what a rule recorded about them."""

    def __init__(self):
        self.facts = Facts()

    def value(self, shape, *blocks, zero=True):
        """A tensor with one block per entry of ``blocks``: an axis, or a tuple of axes for a joint one."""
        made = []
        for axes in blocks:
            axes = axes if isinstance(axes, tuple) else (axes,)
            made.append(Block(axes, self.facts.fresh([shape[a] for a in axes]), zero))
        return Value(tuple(shape), tuple(made))

    def run(self, name, *args, outputs):
        """The operator's values; a single one comes without its list."""
        results = list(RULES[name](Call(self.facts, name, args, tuple(outputs))))
        assert [r.shape for r in results] == [tuple(o) for o in outputs][: len(results)]
        return results[0] if len(results) == 1 else results

    @property
    def pairs(self):
        """Unified atoms, as (smaller, larger), without an atom and itself."""
        found = {(int(a), int(b)) for left, right in self.facts.unified for a, b in zip(left, right, strict=True)}
        return {(min(p), max(p)) for p in found if p[0] != p[1]}

    @property
    def frozen(self):
        return {int(a) for f in self.facts.frozen for a in f.atoms}

    @property
    def reasons(self):
        return {f.reason for f in self.facts.frozen}

    @property
    def boxes(self):
        return [(b.atoms.tolist(), set(b.fixed)) for b in self.facts.boxes]

    @property
    def projections(self):
        """Rows behind every projected atom."""
        return {int(a): r.tolist() for p in self.facts.projections for a, r in zip(p.atoms, p.rows, strict=True)}


def blocks(value):
    """``{axes: atoms}``."""
    return {b.axes: b.atoms.tolist() for b in value.blocks}


def zeros(value):
    """Whether each block is zero where removed."""
    return [b.zero for b in value.blocks]
