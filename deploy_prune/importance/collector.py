"""What passes through a model's layers, channel by channel: means over batch and positions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.importance.weights import input_axis, widened


class Collector:
    """Means of ``statistic`` over the inputs and outputs of every layer with a weight matrix or kernel.

    Args:
        statistic: elementwise, such as ``torch.abs``.
    """

    def __init__(self, statistic: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._statistic = statistic
        self._sums: dict[tuple[nn.Module, bool], tuple[torch.Tensor, int]] = {}
        self._awaited = True  # false once a model without any layer that can be seen was given

    @contextmanager
    def collect(self, model: nn.Module) -> Iterator[None]:
        """Record every forward of the model within the ``with``, in place of what was recorded before."""
        self._sums = {}
        layers = [m for m in model.modules() if _is_layer(m)]
        self._awaited = bool(layers)
        hooks = [m.register_forward_hook(self._record, with_kwargs=True) for m in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def mean(self, module: nn.Module, axis: int) -> torch.Tensor | None:
        """The mean for every index of an axis of ``module.weight``: of its input on the input axis, else of its output.

        Returns:
            Shape (size of the axis,), or None where nothing of the module was seen. An index of a grouped convolution
            stands for a channel of every group and has their mean.

        Raises:
            InputError: the layer's size has changed since.
        """
        mean = self.channel_mean(module, axis == input_axis(module))
        return None if mean is None else mean.view(-1, _weight(module).shape[axis]).mean(0)

    def saw(self, dependency: Any, of_input: bool) -> bool:
        """Whether the dependency is a layer's weight whose input (or output) was recorded.

        Raises:
            InputError: no layer ran within :meth:`collect`.
        """
        if self._awaited and not self._sums:
            raise InputError(
                "no activations were collected; run the model within `with importance.collect(model):` before scoring"
            )
        return dependency.parameter == "weight" and (dependency.target.module, of_input) in self._sums

    def channel_mean(self, module: nn.Module, of_input: bool) -> torch.Tensor | None:
        """The mean for every channel of a layer's input or output, or None where none was seen.

        Raises:
            InputError: the layer's size has changed since.
        """
        if (module, of_input) not in self._sums:
            return None
        total, count = self._sums[module, of_input]
        now = _channels(module, of_input)
        if len(total) != now:
            side = "inputs" if of_input else "outputs"
            raise InputError(
                f"activations were collected when a {type(module).__name__} had {len(total)} {side}, and now it has "
                f"{now}; collect again after pruning"
            )
        return total / count

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
