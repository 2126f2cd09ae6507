"""Residual branches that go as a whole: which nodes run only while a branch is there.

That is decoded from where nodes are missing, with no map from nodes to layers: every branch is left out of its own set
of variants, so a node that is missing in exactly these belongs to it.
"""

from collections.abc import Collection, Mapping, Sequence

Branches = Mapping[str, tuple[str, ...]]
"""Name of a branch -> the groups inside it; the branch is gone when these have width 0."""


def is_whole(widths: Mapping[str, int]) -> bool:
    """Whether no branch is gone at these widths."""
    return 0 not in widths.values()


def branch_variants(full_widths: Mapping[str, int], branches: Branches) -> tuple[dict[str, int], ...]:
    """The variants to profile for ``find_owner``: as few as can tell the branches apart, all else at full width.

    Branch k, counted from one, is left out of the variants that the binary digits of k name.
    """
    variants = []
    for digit in range(len(branches).bit_length()):
        gone = [groups for k, groups in enumerate(branches.values(), start=1) if k >> digit & 1]
        variants.append({**full_widths, **{g: 0 for groups in gone for g in groups}})
    return tuple(variants)


def find_owner(missing: Sequence[bool], variants: Sequence[Mapping[str, int]], branches: Branches) -> tuple[str, ...]:
    """The groups of the branch that a node goes with, given which ``variants`` it is missing in.

    Empty for a node that is never missing, and where no branch or more than one explains it: it then always counts.
    """
    found = [groups for groups in branches.values() if [_gone(groups, widths) for widths in variants] == list(missing)]
    return found[0] if any(missing) and len(found) == 1 else ()


def _gone(groups: Collection[str], widths: Mapping[str, int]) -> bool:
    return all(widths[group] == 0 for group in groups)
