"""The menu: which widths each group may take, and what each would cost in accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import pairwise
from math import isfinite

from deploy_prune.errors import InputError


@dataclass(frozen=True)
class Menu:
    """``widths[g]`` ascending, the last being the one that the search begins with (mostly the full width);
    ``loss[g]`` the loss at each of them, in any one unit.

    The loss at the last width is zero; it need not fall with the width, and may be negative where removal
    helps. The groups of each entry of ``branches`` have width 0 all together or none of them; without a branch a
    group has no such width. The groups of each entry of ``equal`` have one width, and the same widths to choose from.
    Raises ``InputError`` that names the group at fault.
    """

    widths: Mapping[str, tuple[int, ...]]
    loss: Mapping[str, tuple[float, ...]]
    branches: tuple[tuple[str, ...], ...] = ()
    equal: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.widths.keys() != self.loss.keys():
            odd = sorted(self.widths.keys() ^ self.loss.keys())
            raise InputError(f"menu: group {odd[0]!r} has widths or losses but not both; give both for each group")
        for group, widths in self.widths.items():
            problem = _problem(widths, self.loss[group])
            if problem:
                raise InputError(f"menu of group {group!r}: {problem}")
        inside = [group for groups in self.branches for group in groups]
        for group in (*self.widths, *inside):
            if (0 in self.widths.get(group, ())) != (inside.count(group) == 1):
                raise InputError(f"menu of group {group!r}: width 0 is for groups of one branch, and for all of them")
        for groups in self.equal:
            odd = [g for g in groups if self.widths.get(g) != self.widths.get(groups[0], ())]
            if odd:
                raise InputError(f"menu of group {odd[0]!r}: its widths differ from those of {groups[0]!r}, its equal")

    def loss_at(self, widths: Mapping[str, int]) -> float:
        """Total loss of these widths, each of them on the menu."""
        return float(sum(self.loss[g][self.widths[g].index(widths[g])] for g in self.widths))


def prefer_widths(menu: Menu, widths: Mapping[str, int], share: float) -> Menu:
    """The menu on which every other width of a group costs a little more than that of ``widths``.

    All changes together cost ``share`` of what ``widths`` lose; losses still count from the last width.
    """
    extra = share * abs(menu.loss_at(widths)) / len(menu.widths)

    def changed(group: str, width: int) -> float:
        return extra * (width != widths[group])

    loss = {
        group: tuple(
            was + changed(group, width) - changed(group, choices[-1])
            for width, was in zip(choices, menu.loss[group], strict=True)
        )
        for group, choices in menu.widths.items()
    }
    return replace(menu, loss=loss)


def _problem(widths: tuple[int, ...], loss: tuple[float, ...]) -> str:
    """What is wrong with one group's menu, and what was expected; empty if nothing."""
    if not widths:
        return "no widths, expected at least the full width"
    if widths[0] < 0 or any(left >= right for left, right in pairwise(widths)):
        return f"widths {widths}, expected them ascending, distinct and not negative"
    if len(loss) != len(widths):
        return f"{len(loss)} losses for {len(widths)} widths, expected one each"
    if not all(isfinite(x) for x in loss):
        return f"losses {loss}, expected finite numbers"
    if loss[-1] != 0:
        return f"loss {loss[-1]} at the last width {widths[-1]}, expected 0: losses count from there"
    return ""


def restrict(
    menu: Menu, *, min_width: float = 0.0, equal: Sequence[Sequence[str]] = (), full: Mapping[str, int] | None = None
) -> Menu:
    """The menu without widths that constraints on single groups, and on groups of one width, forbid.

    Args:
        menu: all widths.
        min_width: smallest share of its full width that a group keeps; a branch may still go as a whole.
        equal: groups that shall have one width, of one full width each time; they choose from what all of them have.
        full: full widths, where the menu's last ones are smaller.

    Raises:
        InputError: an unknown group, groups of different full widths, one named twice.
    """
    least = {g: min_width * (full[g] if full else ws[-1]) for g, ws in menu.widths.items()}
    choices = {g: {w for w in ws if w == 0 or w >= least[g]} for g, ws in menu.widths.items()}
    named = [g for groups in equal for g in groups]
    for groups in equal:
        _check_equal(groups, menu, named)
        common = set.intersection(*(choices[g] for g in groups))
        choices |= dict.fromkeys(groups, common)
    dropped = {g for g, ws in menu.widths.items() if 0 in ws and 0 not in choices[g]}  # a partner has no branch to go
    branches = tuple(groups for groups in menu.branches if not dropped & set(groups))
    stay = {g for groups in menu.branches if groups not in branches for g in groups}
    kept = {
        g: [k for k, w in enumerate(ws) if w in choices[g] and (w or g not in stay)] for g, ws in menu.widths.items()
    }
    return Menu(
        {g: tuple(menu.widths[g][k] for k in places) for g, places in kept.items()},
        {g: tuple(menu.loss[g][k] for k in places) for g, places in kept.items()},
        branches,
        tuple(tuple(groups) for groups in equal),
    )


def _check_equal(groups: Sequence[str], menu: Menu, named: Sequence[str]) -> None:
    if len(groups) < 2:
        raise InputError(f"equal widths of {list(groups)}: name at least two groups")
    for group in groups:
        if group not in menu.widths:
            near = get_close_matches(group, menu.widths, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the groups are {', '.join(list(menu.widths)[:8])}, …"
            raise InputError(f"equal widths: the model has no free group {group!r}; {hint}")
        if named.count(group) > 1:
            raise InputError(f"equal widths: group {group!r} is named {named.count(group)} times; name it once")
        if menu.widths[group][-1] != menu.widths[groups[0]][-1]:
            raise InputError(
                f"equal widths: {group!r} has {menu.widths[group][-1]} units and {groups[0]!r} has "
                f"{menu.widths[groups[0]][-1]}; only groups of one full width can be equal"
            )
