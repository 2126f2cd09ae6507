"""What passes through a model's layers, channel by channel: means over batch and positions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.importance.importance import GroupImportance
from deploy_prune.importance.reduction import Normalizer
from deploy_prune.importance.weights import input_axis, parameter_name, widened


class Collector:
    """Means of ``statistic`` over the inputs and outputs of every layer with a weight matrix or kernel.

    Args:
        statistic: elementwise, such as ``torch.abs``.
    """

    def __init__(self, statistic: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._statistic = statistic
        self._sums: dict[tuple[nn.Module, bool], tuple[torch.Tensor, int]] = {}
        self._modules: set[nn.Module] = set()

    @contextmanager
    def collect(self, model: nn.Module) -> Iterator[None]:
        """Record every forward of the model within the ``with``, in place of what was recorded before."""
        self._sums = {}
        self._modules = set(model.modules())
        hooks = [m.register_forward_hook(self._record, with_kwargs=True) for m in self._modules if _is_layer(m)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def saw(self, dependency: Any, of_input: bool) -> bool:
        """Whether the dependency is a layer's weight whose input (or output) was recorded.

        Raises:
            InputError: the layer is not of the model that was given, or no layer of that model ran.
        """
        ran = self._sums or not any(map(_is_layer, self._modules))
        if dependency.target.module not in self._modules or not ran:
            raise InputError(
                f"no activations were collected for {parameter_name(dependency)}; run the model that is to be pruned "
                "within `with importance.collect(model):` before scoring"
            )
        return dependency.parameter == "weight" and (dependency.target.module, of_input) in self._sums

    def channel_mean(self, module: nn.Module, of_input: bool) -> torch.Tensor:
        """The mean for every channel of the input or output of a layer that :meth:`saw` knows, shape (channels,).

        Raises:
            InputError: the layer's size has changed since.
        """
        total, count = self._sums[module, of_input]
        now = _channels(module, of_input)
        if len(total) != now:
            side = "inputs" if of_input else "outputs"
            raise InputError(
                f"activations were collected when a {type(module).__name__} had {len(total)} {side}, and now it has "
                f"{now}; collect again after pruning"
            )
        return total / count

    def mean_along(self, module: nn.Module, axis: int) -> torch.Tensor:
        """The mean for every index of an axis of ``module.weight``: of its input on the input axis, else of its output.

        An index of a grouped convolution stands for a channel of every group and has their mean.
        """
        return self.channel_mean(module, axis == input_axis(module)).view(-1, _weight(module).shape[axis]).mean(0)

    @torch.no_grad()
    def _record(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self._add(module, True, (*args, *kwargs.values()))
        self._add(module, False, output if isinstance(output, tuple) else (output,))

    def _add(self, module: nn.Module, of_input: bool, values: Iterable[Any]) -> None:
        tensor = next((v for v in values if isinstance(v, torch.Tensor)), None)
        if tensor is None or not tensor.is_floating_point():
            return
        # Convolutions count channels before their spatial axes, also without a batch; everything else at the end.
        axis = 1 - _weight(module).ndim if isinstance(module, nn.modules.conv._ConvNd) else -1
        channels = widened(tensor.detach()).movedim(axis, -1)
        channels = channels.reshape(-1, channels.shape[-1])  # (batch and positions, channels)
        if channels.shape[1] == _channels(module, of_input):
            total, count = self._sums.get((module, of_input), (0, 0))
            self._sums[module, of_input] = (total + self._statistic(channels).sum(0), count + len(channels))


def _is_layer(module: nn.Module) -> bool:
    weight = module._parameters.get("weight")
    return weight is not None and (weight.ndim == 2 or isinstance(module, nn.modules.conv._ConvNd))


def _weight(module: nn.Module) -> torch.Tensor:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight


def _channels(module: nn.Module, of_input: bool) -> int:
    """Channels of a layer's input or output, from its weight: a grouped convolution has axis 1 once per group."""
    axis = input_axis(module) if of_input else 1 - input_axis(module)
    groups = getattr(module, "groups", 1) if axis == 1 else 1
    return int(_weight(module).shape[axis] * groups)


class CollectedImportance(GroupImportance):
    """A criterion over activations, gathered by ``with imp.collect(model): model(batch)``.

    A subclass says in ``worth`` what of each activation is averaged.

    Args:
        group_reduction: see :class:`GroupImportance`.
        normalizer: see :class:`GroupImportance`.
        target_types: see :class:`GroupImportance`.
    """

    worth: Callable[[torch.Tensor], torch.Tensor]

    def __init__(
        self,
        group_reduction: str | None = "mean",
        normalizer: Normalizer = "mean",
        target_types: Sequence[type] | None = None,
    ) -> None:
        super().__init__(group_reduction, normalizer, False, target_types)
        self._seen = Collector(type(self).worth)

    def collect(self, model: nn.Module) -> AbstractContextManager[None]:
        """Record the activations of every forward within the ``with``; the hooks go at its end."""
        return self._seen.collect(model)
