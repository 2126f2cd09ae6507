"""Run variants of a model without computing anew what runs before the first module in which they differ."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Span:
    """Ticks between which a module ran its only call."""

    start: int
    end: int


class Replay:
    """The order in which a model's modules run, and what they returned.

    A module that had returned before the first changed one was called cannot depend on it: in a variant of the model it
    hands out what it returned in the model. Modules called more than once, or never, run again.

    Args:
        model: in the mode in which its variants will run.
        run: runs it once.
    """

    def __init__(self, model: nn.Module, run: Callable[[], Any]) -> None:
        self._model = model
        self._names = {module: name for name, module in model.named_modules()}
        self._parents = {child: parent for parent in model.modules() for child in parent.children()}
        self._kept: dict[str, Any] = {}
        self._spans = self._time(run)

    def start(self, changed: Iterable[nn.Module]) -> int:
        """The tick of the first call of a changed module; of its parent where it is read without being called."""
        return min((self._first_call(module) for module in changed), default=0)

    @contextmanager
    def recording(self, starts: Iterable[int]) -> Iterator[None]:
        """Keep what a run within the block returns, as far as :meth:`shorten` needs it for these starts."""
        self._kept = {}
        with ExitStack() as stack:
            for module in {m for start in starts for m in self._finished(start)}:
                stack.enter_context(_hooked(module.register_forward_hook(self._keep)))
            yield

    def shorten(self, variant: nn.Module, start: int) -> None:
        """Make a copy of the model, changed from a tick on, hand out what was kept: it is for these inputs only."""
        for module in self._finished(start):
            if self._names[module] in self._kept:
                variant.get_submodule(self._names[module]).forward = _constant(self._kept[self._names[module]])

    def _time(self, run: Callable[[], Any]) -> dict[nn.Module, tuple[Span, int]]:
        """Of each module that ran: the span of its first call, and how often it was called."""
        spans: dict[nn.Module, tuple[Span, int]] = {}
        open_calls: list[int] = []
        tick = 0

        def begin(module: nn.Module, _: Any) -> None:
            nonlocal tick
            tick += 1
            open_calls.append(tick)

        def end(module: nn.Module, *_: Any) -> None:
            nonlocal tick
            tick += 1
            start = open_calls.pop()
            first, calls = spans.get(module, (Span(start, tick), 0))
            spans[module] = (min(first, Span(start, tick), key=lambda span: span.start), calls + 1)

        with ExitStack() as stack:
            for module in self._names:
                stack.enter_context(_hooked(module.register_forward_pre_hook(begin)))
                stack.enter_context(_hooked(module.register_forward_hook(end)))
            run()
        return spans

    def _first_call(self, module: nn.Module) -> int:
        while module not in self._spans:
            if module not in self._parents:
                return 0
            module = self._parents[module]
        return self._spans[module][0].start

    def _finished(self, start: int) -> Collection[nn.Module]:
        """The largest modules that had returned before a tick, called once and with a forward of their class's."""
        found: list[nn.Module] = []
        waiting = [self._model]
        while waiting:
            module = waiting.pop()
            span, calls = self._spans.get(module, (Span(0, start), 0))
            once = calls == 1 and "forward" not in module.__dict__ and not isinstance(module, torch.jit.ScriptModule)
            if once and span.end < start:
                found.append(module)
            else:
                waiting.extend(module.children())
        return dict.fromkeys(found)

    def _keep(self, module: nn.Module, _: Any, output: Any) -> None:
        self._kept[self._names[module]] = _copied(output)


def _constant(output: Any) -> Callable[..., Any]:
    return lambda *_, **__: _copied(output)


def _copied(output: Any) -> Any:
    """A copy, since what follows may write into it."""
    return pytree.tree_map(lambda part: part.clone() if isinstance(part, torch.Tensor) else part, output)


@contextmanager
def _hooked(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()
