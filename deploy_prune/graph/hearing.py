"""Modes that hear a run: they hand every call over and leave nothing behind.

A ``TorchDispatchMode`` sees every ATen operator of an eager run, so any Python control flow works; a
``TorchFunctionMode`` sees sizes before C++ turns them into plain numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

Hear = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
"""Called with a function, its positional and its keyword arguments in place of it."""


class HeardOperators(TorchDispatchMode):
    """Every operator goes through ``hear``."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # the guard would cost more than most operators, and only eager runs are heard

    def __init__(self, hear: Hear) -> None:
        super().__init__()
        self.hear = hear

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.hear(func, args, kwargs or {})


class HeardFunctions(TorchFunctionMode):
    """Every function of torch goes through ``hear``."""

    def __init__(self, hear: Hear) -> None:
        super().__init__()
        self.hear = hear

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.hear(func, args, kwargs or {})
