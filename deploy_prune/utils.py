"""Names that Torch-Pruning users know under ``tp.utils``."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn
from torch.utils import _pytree as pytree

from deploy_prune.count import count_ops_and_params
from deploy_prune.errors import InputError

__all__ = ["count_ops_and_params", "count_params", "flatten_as_list", "print_tool"]


def count_params(module: nn.Module) -> int:
    """Number of parameters, a tied one counted once."""
    return sum(p.numel() for p in module.parameters())


def flatten_as_list(obj: Any) -> list[Any]:
    """The leaves of nested lists, tuples and dicts, in order."""
    return pytree.tree_leaves(obj)


class print_tool:  # noqa: N801 - a name that people know
    """Show what pruning changed in the printed form of a model, line by line."""

    _before: ClassVar[list[str] | None] = None

    @staticmethod
    def before_pruning(model: nn.Module) -> None:
        """Remember how the model prints now."""
        print_tool._before = str(model).splitlines()

    @staticmethod
    def after_pruning(model: nn.Module, do_print: bool = True) -> str:
        """``before => after`` for every line that changed, the line itself for others; also printed unless told not to.

        Raises:
            InputError: no :meth:`before_pruning` since the last call.
        """
        if print_tool._before is None:
            raise InputError("there is nothing to compare with; call print_tool.before_pruning(model) first")
        pairs = zip(print_tool._before, str(model).splitlines(), strict=True)
        text = "".join(f"{a}\n" if a == b else f"{a} => {b.strip()}\n" for a, b in pairs)
        print_tool._before = None
        if do_print:
            print(text)
        return text
