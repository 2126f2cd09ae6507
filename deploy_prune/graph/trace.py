"""Run a model and listen: from a module and its inputs to :class:`~deploy_prune.graph.facts.Facts`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from deploy_prune.errors import ForwardError, InputError
from deploy_prune.graph.attributes import Attribute
from deploy_prune.graph.calling import Inputs, call_model, names_in_scripts
from deploy_prune.graph.facts import Facts
from deploy_prune.graph.mode import enter_mode, readers_of_mode
from deploy_prune.graph.preserve import kept, trace_attributes
from deploy_prune.graph.skipping import MadeUp
from deploy_prune.graph.tracer import Tracer
from deploy_prune.graph.twins import unreached_twins


@dataclass
class Trace:
    """What the runs of a model showed: its facts, and the value of every integer attribute that was followed."""

    facts: Facts
    attributes: dict[Attribute, int] = field(default_factory=dict)


def trace(
    model: nn.Module,
    example_inputs: Inputs,
    *,
    forward_fn: Callable[[nn.Module, Inputs], Any] | None = None,
    output_transform: Callable[[Any], Any] | None = None,
    keeping_channels: Sequence[nn.Module] = (),
) -> Trace:
    """Run the model in eval mode, and in train mode too if anything in it asks for the mode; collect what both say.

    Args:
        model: any module; it is left exactly as it was.
        example_inputs: see :data:`Inputs`.
        forward_fn: ``forward_fn(model, inputs)`` in place of a plain call.
        output_transform: picks from the model's output what must keep its shape; by default all of it.
        keeping_channels: layers whose outputs must lose the channels that their inputs lose, whatever they compute.

    Raises:
        InputError: it is no module, or a TorchScript module, or its forward returns an iterator that nothing has run.
        ForwardError: the model fails in both modes. A model that fails in one of them is traced in the other.
    """
    _refuse_other_things(model)
    with kept(model) as snapshot:
        tracer = Tracer(model, snapshot, keeping_channels)
        run = _Run(model, example_inputs, forward_fn or call_model, output_transform, tracer)
        training = False
        try:
            with readers_of_mode(model) as readers:
                found = run.listen()
        except ForwardError as failed:
            snapshot.restore()
            training, found = True, run.listen_or_raise(failed)
        products = list(tracer.facts.products)  # of this run alone: no other computes what a deployed model does
        if readers and not training:
            snapshot.restore()
            with suppress(ForwardError):
                run.listen(training=True)
        tracer.twins = unreached_twins(model, tracer.facts.reached, tracer.called)
        if tracer.twins:
            snapshot.restore()
            with suppress(ForwardError):
                run.listen(training)
        tracer.facts.products[:] = products
        tracer.operator = "script"
        for name in sorted(names_in_scripts(model) & tracer.own_values.keys()):
            tracer.facts.freeze_values([tracer.own_values[name]], "belongs to a scripted module; script after pruning")
    return Trace(tracer.facts, found)


@dataclass(frozen=True)
class _Run:
    model: nn.Module
    inputs: Inputs
    forward: Callable[[nn.Module, Inputs], Any]
    transform: Callable[[Any], Any] | None
    tracer: Tracer

    def listen(self, training: bool = False) -> dict[Attribute, int]:
        """Hear a run, without arithmetic unless the model asks for numbers; returns the attributes that were followed.

        Raises:
            ForwardError: the model fails; nothing is left of what it said.
        """
        mark, made_up = self.tracer.mark(), MadeUp()
        with suppress(ForwardError):
            found = self._hear(training, made_up)
            if not made_up.asked:
                return found
        self.tracer.roll_back(mark)
        self.tracer.snapshot.restore()
        return self._hear(training, None)

    def listen_or_raise(self, failed: ForwardError) -> dict[Attribute, int]:
        """Hear a run in train mode of a model that ``failed`` in eval mode; the first failure tells more."""
        with suppress(ForwardError):
            return self.listen(training=True)
        raise failed

    def _hear(self, training: bool, made_up: MadeUp | None) -> dict[Attribute, int]:
        tracer = self.tracer
        mark, tracer.made_up = tracer.mark(), made_up
        try:
            with tracer.listening():
                enter_mode(self.model, training)
                attributes = trace_attributes(self.model)
                output = self.forward(self.model, self.inputs)
                _refuse_iterators(output)
                tracer.freeze_output(self.transform(output) if self.transform else output, self.model)
        except InputError:
            raise
        except Exception as error:
            where, message = tracer.locate(), (str(error).strip().splitlines() or [""])[0]
            tracer.roll_back(mark)
            raise ForwardError(
                f"the model fails on the example inputs in {where}: {type(error).__name__}: {message}; "
                "give inputs that it runs on"
            ) from error
        return attributes


def _refuse_other_things(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"the model is a {type(model).__name__}; give a torch.nn.Module")
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError("the model is a TorchScript module, whose code cannot change; prune the module it came from")


def _refuse_iterators(output: Any) -> None:
    if isinstance(output, Iterator):
        raise InputError(
            f"the model returns a {type(output).__name__} that runs only when it is read; give a forward_fn that reads "
            "it: forward_fn=lambda model, inputs: list(model(inputs))"
        )
