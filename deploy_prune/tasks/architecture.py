"""What a module's architecture is, and the proof that training left it alone."""

from collections.abc import Mapping

from torch import nn

from deploy_prune.errors import PlanError

Shapes = Mapping[str, tuple[int, ...]]


def architecture(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every parameter and buffer of ``model``."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def check_same_architecture(before: Shapes, after: Shapes) -> None:
    """Raise PlanError, naming the first difference, unless both have the same tensors of the same shapes."""
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            raise PlanError(
                f"training changed the architecture: {name} was {before.get(name, 'absent')} and is "
                f"{after.get(name, 'absent')}; the pruned network was rebuilt at its dense size, so train it "
                "with trainer=deploy_prune.tasks.ultralytics.pruned_trainer(task)"
            )
