"""The menu: which widths each group may take, and what each would cost in accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

from deploy_prune.errors import InputError


@dataclass(frozen=True)
class Menu:
    """``widths[g]`` ascending, the last being the full width; ``loss[g]`` the loss at each of them, in any
    one unit.

    The loss at the full width is zero; it need not fall with the width, and may be negative where removal
    helps. The groups of each entry of ``branches`` have width 0 all together or none of them; without a branch a
    group has no such width. Raises ``InputError`` that names the group at fault.
    """

    widths: Mapping[str, tuple[int, ...]]
    loss: Mapping[str, tuple[float, ...]]
    branches: tuple[tuple[str, ...], ...] = ()

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

    def loss_at(self, widths: Mapping[str, int]) -> float:
        """Total loss of these widths, each of them on the menu."""
        return float(sum(self.loss[g][self.widths[g].index(widths[g])] for g in self.widths))


def prefer_widths(menu: Menu, widths: Mapping[str, int], share: float) -> Menu:
    """The menu on which every other width of a group costs a little more than that of ``widths``.

    All changes together cost ``share`` of what ``widths`` lose; losses still count from the full width.
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
    return Menu(menu.widths, loss, menu.branches)


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
        return f"loss {loss[-1]} at the full width {widths[-1]}, expected 0: losses count from the dense network"
    return ""
