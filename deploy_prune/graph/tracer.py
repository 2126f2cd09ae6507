"""What is made of a run that is heard: every operator becomes facts about its values."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from deploy_prune.graph.attributes import hear_comparisons
from deploy_prune.graph.calling import alternative_forwards, plain, users_file
from deploy_prune.graph.facts import OUTPUT, Facts, Place
from deploy_prune.graph.hearing import HeardFunctions, HeardOperators
from deploy_prune.graph.operators import Operator, operator_of
from deploy_prune.graph.preserve import heard_calls, heard_functionals, numbers_of_buffers
from deploy_prune.graph.products import MULTIPLYING, Product
from deploy_prune.graph.rules import RULES, Call
from deploy_prune.graph.rules.elementwise import combine, elementwise
from deploy_prune.graph.sizes import groups_given, observe
from deploy_prune.graph.skipping import MadeUp
from deploy_prune.graph.snapshot import Snapshot, memory_of
from deploy_prune.graph.values import Value


class Tracer:
    """Values of all live tensors, and the modules being called.

    Attributes:
        facts: what the runs said.
        made_up: what leaves arithmetic out; None: everything is computed.
    """

    def __init__(self, model: nn.Module, snapshot: Snapshot, keeping_channels: Sequence[nn.Module] = ()) -> None:
        self.facts = Facts(self.locate)
        self.snapshot = snapshot
        self.keeping_channels = keeping_channels
        self.made_up: MadeUp | None = None
        self.values: dict[int, tuple[weakref.ref[torch.Tensor], Value]] = {}
        self.own_values: dict[str, Value] = {}
        self.untracked: dict[tuple[int, ...], Value] = {}
        self.known_calls: dict[tuple[Any, ...], Sequence[Value]] = {}
        self.viewed: set[int] = set()
        self.stack: list[str] = []
        self.operator = ""
        self.place: Place | None = None
        self.inside_alternative = False
        self.called: set[int] = set()
        self.twins: Sequence[tuple[nn.Module, nn.Module]] = ()
        self.modules = {id(m): n for n, m in model.named_modules()}
        self.many_sided = set(filter(_has_alternatives, set(map(type, model.modules()))))
        self.tensors = {id(t): n for n, t in (*model.named_parameters(), *model.named_buffers())}
        self.numbers = numbers_of_buffers(model)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Modes for the time of one run."""
        with ExitStack() as stack:
            self.stack.clear()
            self.operator = ""
            stack.enter_context(torch.no_grad())
            stack.enter_context(heard_calls(self._call))
            for module, twin in self.twins:
                stack.callback(module.register_forward_hook(partial(self._hear_twin, twin), with_kwargs=True).remove)
            for module in self.keeping_channels:
                stack.callback(module.register_forward_hook(self._tie_sides).remove)
            stack.enter_context(hear_comparisons(self.facts.comparisons))
            stack.enter_context(heard_functionals())
            stack.enter_context(HeardOperators(self.hear))
            stack.enter_context(HeardFunctions(self.hear_function))
            yield

    def mark(self) -> list[int]:
        """How many known calls and facts of each kind there are now, for :meth:`roll_back`."""
        return [len(self.known_calls), *map(len, self.facts.lists())]

    def roll_back(self, mark: Sequence[int]) -> None:
        """Forget what was said since ``mark``."""
        for facts, length in zip(self.facts.lists(), mark[1:], strict=True):
            del facts[length:]
        while len(self.known_calls) > mark[0]:
            self.known_calls.popitem()

    def _call(self, call: Callable[..., Any], module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a module; while it runs, and where it fails, the stack ends with its name."""
        name, depth = self.modules.get(id(module)), len(self.stack)
        if name is None:
            return call(module, *args, **kwargs)
        self.stack.append(name)
        self.called.add(id(module))
        if type(module) in self.many_sided and not self.inside_alternative:
            for alternative in alternative_forwards(module):
                self._run_alternative(alternative, args, {})
        result = call(module, *args, **kwargs)
        del self.stack[depth:]
        return result

    def _hear_twin(
        self, twin: nn.Module, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if not self.inside_alternative:
            self._run_alternative(twin, args, kwargs, output)

    def _tie_sides(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """What enters a layer and what leaves it in the same shape live and die together."""
        for old, new in zip(_tensors(args), _tensors(output), strict=False):
            if old.shape == new.shape:
                combine(self.facts, [self.value_of(old), self.value_of(new)], tuple(old.shape))

    def _run_alternative(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], instead_of: Any = None
    ) -> None:
        """Hear what another forward says, whose result may stand ``instead_of`` another; one that cannot run now says
        nothing.
        """
        self.inside_alternative, mark, depth = True, self.mark(), len(self.stack)
        try:
            args, kwargs = pytree.tree_map_only(torch.Tensor, torch.clone, (args, dict(kwargs)))
            found = _tensors(forward(*args, **kwargs))
            for old, new in zip(_tensors(instead_of), found, strict=False):
                combine(self.facts, [self.value_of(old), self.value_of(new)], tuple(old.shape))
        except Exception:
            self.roll_back(mark)
        finally:
            self.inside_alternative = False
            del self.stack[depth:]

    def locate(self) -> Place:
        """The innermost module, the operator and the line of the user's code; the output has no line."""
        if self.operator == OUTPUT:
            return Place("", OUTPUT, "")
        if self.place is not None:  # found for an earlier fact of the same call
            return self.place
        frame, source = sys._getframe(1), ""
        while frame is not None:
            file = users_file(frame.f_code.co_filename)
            if file:
                source = f"{file}:{frame.f_lineno}"
                break
            frame = frame.f_back  # type: ignore[assignment]
        self.place = Place(self.stack[-1] if self.stack else "", self.operator, source)
        return self.place

    def value_of(self, tensor: torch.Tensor) -> Value:
        """The abstract value of a tensor; parameters and buffers are known by identity. Equal ones are one object."""
        name = self.tensors.get(id(tensor))
        if name is not None:
            self.facts.reached.add(name)
            if name not in self.own_values:
                self.own_values[name] = self.facts.parameter(name, tensor.shape, self.numbers.get(name))
            return self.own_values[name]
        known = self.values.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        shape = tuple(tensor.shape)
        if shape not in self.untracked:
            self.untracked[shape] = Value(shape)
        return self.untracked[shape]

    def abstract(self, argument: Any) -> Any:
        """An operator's argument with its value for each tensor, also inside lists; lists become tuples."""
        if isinstance(argument, torch.Tensor):
            return self.value_of(argument)
        if not isinstance(argument, (list, tuple)):
            return argument
        return tuple([a if type(a) in _NUMBERS else self.abstract(a) for a in argument])

    def set_value(self, tensor: torch.Tensor, value: Value) -> None:
        """Remember the abstract value of a tensor for as long as it lives."""
        self.values[id(tensor)] = weakref.ref(tensor), value

    def hear(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator, or make up its result, and record what it says."""
        given, named = self.abstract(args), {k: self.abstract(a) for k, a in kwargs.items()}
        tracked = any(map(_is_tracked, given)) or any(map(_is_tracked, named.values()))
        operator = operator_of(function)
        if operator.writes:
            self.snapshot.before((args, kwargs))
        result = self.made_up(function, args, kwargs, tracked) if self.made_up else function(*args, **kwargs)
        self._note_memory(operator, outputs := _tensors(result))
        if operator.name == "scalar_tensor":  # a plain number among an operator's tensors
            self.set_value(result, Value((), numbers=np.asarray(given[0])))
        if tracked:
            self._record(function, given, named, outputs)
        return result

    def _note_memory(self, operator: Operator, outputs: list[torch.Tensor]) -> None:
        """Keep count of the memory that several tensors see."""
        if operator.is_view:
            self.viewed.update(map(memory_of, outputs))
        elif self.viewed and not operator.writes:  # the memory of a tensor that is gone serves another one
            self.viewed.difference_update(map(memory_of, outputs))

    def _record(
        self, function: Any, given: tuple[Any, ...], named: dict[str, Any], outputs: list[torch.Tensor]
    ) -> None:
        """Apply the operator's rule to arguments that :meth:`abstract` gave before the call."""
        operator = operator_of(function)
        self.operator, self.place = operator.name, None
        shapes = tuple(tuple(t.shape) for t in outputs)
        if operator.name in MULTIPLYING and not self.inside_alternative:
            self.facts.products.append(Product(operator.name, given, shapes[0], self.stack[-1] if self.stack else ""))
        # The same operator on the same values says the same again, as most do in train mode after eval mode.
        call_key = (function, given, *named.items(), shapes)
        values = self.known_calls.get(call_key)
        if values is None:
            named = dict(named)
            given += tuple(named.pop(name, default) for name, default in operator.arguments[len(given) :])
            values = self._apply(function, Call(self.facts, operator.name, given, shapes, named), call_key)
        for tensor, value in zip(outputs, values, strict=False):
            if operator.writes:
                self._guard_write(tensor, value)
            self.set_value(tensor, value)

    def _apply(self, function: Any, call: Call, call_key: tuple[Any, ...]) -> Sequence[Value]:
        rule = RULES.get(call.name)
        if rule is None and torch.Tag.pointwise in function.tags:
            rule = elementwise
        if rule is None:
            self.facts.unknown_operator(call.name, call.values())
            return [Value(shape) for shape in call.outputs]
        mark = self.mark()
        try:
            values = self.known_calls[call_key] = rule(call)
        except (AssertionError, IndexError, KeyError, TypeError, ValueError) as error:
            self.roll_back(mark)
            self.facts.freeze_values(call.values(), f"the rule of operator {call.name} does not fit here ({error})")
            return [Value(shape) for shape in call.outputs]
        return values

    def hear_function(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of torch and record what its sizes say."""
        if self.made_up is not None:
            self.made_up.hear(function, args)
        if getattr(function, "__name__", "") in _WHOLE:
            return self.hear_whole(function, args, kwargs)
        self.facts.convolution_groups = groups_given(function, args, kwargs)
        result = function(*args, **kwargs)
        self.facts.convolution_groups, self.place = None, None
        return observe(self.facts, function, args, kwargs, result, self.value_of, self.set_value)

    def hear_whole(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function that reaches the operators only in pieces, which say too much; apply its rule instead."""
        mark = self.mark()
        result = function(*args, **kwargs)
        self.roll_back(mark)
        outputs = _tensors(result)
        self.operator, self.place = function.__name__, None
        call = Call(self.facts, self.operator, self.abstract(args), tuple(tuple(t.shape) for t in outputs))
        for tensor, value in zip(outputs, RULES[self.operator](call), strict=True):
            self.set_value(tensor, value)
        return result

    def _guard_write(self, tensor: torch.Tensor, value: Value) -> None:
        """A write that brings new channels into memory seen through several views cannot be followed."""
        old = {b.axes for b in self.value_of(tensor).blocks}
        new = [b for b in value.blocks if b.axes not in old]
        if new and memory_of(tensor) in self.viewed:
            for block in new:
                self.facts.freeze(block.atoms, "is written into a view of another tensor")

    def freeze_output(self, output: Any, model: nn.Module) -> None:
        """What reaches the output keeps its shape."""
        self.operator = OUTPUT
        for path, leaf in pytree.tree_flatten_with_path(plain(output, model))[0]:
            if isinstance(leaf, torch.Tensor):
                where = pytree.keystr(path)
                self.facts.freeze(
                    self.value_of(leaf).atoms(), f"reaches the model's output{' ' + where if where else ''}"
                )


def _has_alternatives(kind: type[nn.Module]) -> bool:
    return any(name.startswith("forward_") for base in kind.__mro__ for name in vars(base))


def _is_tracked(argument: Any) -> bool:
    if isinstance(argument, tuple):
        return any(map(_is_tracked, argument))
    return isinstance(argument, Value) and argument.tracked


_WHOLE = frozenset({"_pad_packed_sequence"})
"""Functions made of others in C++, which write into new tensors of sizes that nobody hears."""

_NUMBERS = frozenset({int, float, bool, type(None)})


def _tensors(result: Any) -> list[torch.Tensor]:
    """The tensors of an operator's result, which is one, or a tuple or list of them."""
    if isinstance(result, torch.Tensor):
        return [result]
    return [t for part in result for t in _tensors(part)] if isinstance(result, (tuple, list)) else []
