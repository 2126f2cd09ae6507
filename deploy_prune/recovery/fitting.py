"""Fit the layers of a pruned model to the dense one's outputs, one after the other in the order in which they run.

A layer's inputs are those of the pruned model with all earlier layers fitted, its targets the dense model's outputs
(He, Zhang, Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017, section 3.2): what earlier
layers could not win back, later ones see and make up for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from deploy_prune.recovery.layers import (
    Layer,
    LayerError,
    accurate,
    input_rows,
    output_rows,
    set_weight,
    weight_matrix,
)
from deploy_prune.recovery.moments import Fit, Moments, best_fit
from deploy_prune.recovery.targets import Run, Sample, Targets

Tick = Callable[[int, int], None]
"""``tick(done, total)``: called after every layer."""


@dataclass(frozen=True, eq=False)
class Fitting:
    """The data that layers are fitted on.

    Attributes:
        targets: the dense model's outputs on ``batches``.
        batches: calibration data.
        held_out: which of the batches judge a fit, the others make it.
        run: a forward pass.
    """

    targets: Targets
    batches: Sequence[Any]
    held_out: Sequence[bool]
    run: Run

    @torch.no_grad()
    def fit_weights(self, model: nn.Module, layers: Iterable[Layer], tick: Tick) -> tuple[LayerError, ...]:
        """Give every layer that lost inputs the weights that come nearest to the dense outputs, where that helps.

        The mean that they leave goes into the layer's bias or, where it has none, into the batch norm behind it.
        ``model`` is in eval mode and is changed; its batch norms have the dense model's statistics.
        """
        return self._fit(model, [layer for layer in layers if layer.lost_inputs], tick, self._fit_layer)

    @torch.no_grad()
    def fit_biases(
        self, model: nn.Module, layers: Iterable[Layer], tick: Tick, *, norms: bool
    ) -> tuple[LayerError, ...]:
        """Shift every layer's outputs so that each channel has the dense one's mean, where that helps.

        ``norms`` says whether layers without a bias may be shifted by the batch norm behind them: its statistics must
        be the dense model's.
        """
        able = [layer for layer in layers if self._can_shift(model, layer, norms=norms)]
        return self._fit(model, able, tick, self._fit_bias)

    def _fit(
        self,
        model: nn.Module,
        layers: list[Layer],
        tick: Tick,
        fit: Callable[[nn.Module, Layer], LayerError | None],
    ) -> tuple[LayerError, ...]:
        chosen = {layer.name: layer for layer in layers}
        order = [chosen[name] for name in self.targets.samples if name in chosen]
        errors = []
        for done, layer in enumerate(order, start=1):
            error = fit(model, layer)
            errors += [error] if error is not None else []
            tick(done, len(order))
        return tuple(errors)

    def _can_shift(self, model: nn.Module, layer: Layer, *, norms: bool = True) -> bool:
        has_bias = getattr(model.get_submodule(layer.name), "bias", None) is not None
        return has_bias or (norms and layer.name in self.targets.norms)

    def _fit_layer(self, model: nn.Module, layer: Layer) -> LayerError | None:
        module: Any = model.get_submodule(layer.name)
        groups = getattr(module, "groups", 1)
        fitting, held_out = Moments(), Moments()

        def add(number: int, sample: Sample, x: torch.Tensor, _: torch.Tensor) -> None:
            place = accurate(x)
            y = sample.values.reshape(len(sample.rows), groups, -1)
            moments = held_out if self.held_out[number] else fitting
            moments.add(input_rows(module, x, sample.rows).to(place), y.to(place))

        if not self._replay(model, layer, add) or not (fitting.rows and held_out.rows):
            return None
        weight = weight_matrix(module)
        bias = torch.zeros(len(weight), weight.shape[2], dtype=weight.dtype, device=weight.device)
        if module.bias is not None:
            bias = module.bias.detach().to(bias).reshape(bias.shape)
        start = Fit(weight, bias)
        fit, after = best_fit(fitting, held_out, start, shifted=self._can_shift(model, layer))
        if fit is not start:
            set_weight(module, fit.weight)
            self._shift(model, layer, (fit.shift - start.shift).reshape(-1))
        return LayerError(layer.name, held_out.error(start), after, fit is not start)

    def _fit_bias(self, model: nn.Module, layer: Layer) -> LayerError | None:
        """Both sums are over outputs: the shift is the mean difference, judged by the squared difference."""
        module: Any = model.get_submodule(layer.name)
        differences: dict[bool, list[torch.Tensor]] = {False: [], True: []}
        size = 0.0

        def add(number: int, sample: Sample, _: torch.Tensor, output: torch.Tensor) -> None:
            nonlocal size
            y = sample.values.to(accurate(output)).double()
            off = y - output_rows(module, output)[sample.rows].to(y)
            held_out = bool(self.held_out[number])
            size += float(y.square().sum()) if held_out else 0.0
            differences[held_out].append(torch.stack((torch.ones_like(off).sum(0), off.sum(0), off.square().sum(0))))

        if not self._replay(model, layer, add) or not (differences[False] and differences[True]):
            return None
        fitting, held_out = (torch.stack(differences[k]).sum(0) for k in (False, True))  # (3, channels)
        shift = fitting[1] / fitting[0]
        before = float(held_out[2].sum())
        after = float((held_out[2] - 2 * shift * held_out[1] + shift.square() * held_out[0]).sum())
        if after < before:
            self._shift(model, layer, shift)
        return LayerError(layer.name, before / max(size, 1e-300), after / max(size, 1e-300), after < before)

    def _shift(self, model: nn.Module, layer: Layer, shift: torch.Tensor) -> None:
        """Add to a layer's outputs: by its bias, or by the mean that the batch norm behind it takes away."""
        bias = getattr(model.get_submodule(layer.name), "bias", None)
        if bias is not None:
            bias.add_(shift.to(bias))
        elif layer.name in self.targets.norms:
            mean = model.get_submodule(self.targets.norms[layer.name]).running_mean
            assert isinstance(mean, torch.Tensor), "targets name batch norms with running statistics only"
            mean.sub_(shift.to(mean))

    def _replay(
        self, model: nn.Module, layer: Layer, add: Callable[[int, Sample, torch.Tensor, torch.Tensor], None]
    ) -> bool:
        """Run the model on all batches, as far as the layer, and hand over its inputs and outputs of every call.

        Returns:
            Whether the layer ran as it does in the dense model: as often, and with outputs of the same extents.
        """
        module = model.get_submodule(layer.name)
        for number, (batch, samples) in enumerate(zip(self.batches, self.targets.samples[layer.name], strict=True)):
            left = list(samples)

            def take(
                module: nn.Module,
                args: tuple[Any, ...],
                kwargs: dict[str, Any],
                output: torch.Tensor,
                left: list[Sample] = left,
                number: int = number,
            ) -> None:
                sample = left[0]
                if len(output_rows(module, output)) != sample.total:
                    raise _ReachedError
                add(number, sample, (*args, *kwargs.values())[0], output)
                del left[0]
                if not left:
                    raise _ReachedError

            hook = module.register_forward_hook(take, with_kwargs=True)
            try:
                if left:
                    self.run(model, batch)
            except _ReachedError:
                pass
            finally:
                hook.remove()
            if left:
                return False
        return True


class _ReachedError(Exception):
    """Ends a forward pass early: the rest of it is not needed."""
