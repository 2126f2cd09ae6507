"""Keep Ultralytics from rebuilding a pruned network at its dense size. Needs no Ultralytics import itself.

Ultralytics trains a copy built from ``model.yaml`` into which it loads the weights that fit: for a pruned
network that is the dense one, with fresh weights in place of what was pruned, and no error. Two answers stand
here: :class:`KeptModule` makes a trainer train the module it is given, and :func:`refuse_rebuild` makes any
other trainer stop with a message that says so.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from deploy_prune.errors import InputError
from deploy_prune.tasks.architecture import Shapes, architecture, check_same_architecture

_REFUSAL = (
    "this network was pruned by deploy_prune and .train() alone would rebuild it at its dense size; write "
    ".train(trainer=deploy_prune.tasks.ultralytics.pruned_trainer({task!r}), ...)"
)


class KeptModule:
    """Mixin for an Ultralytics trainer class, to stand before it among the bases."""

    kept: Shapes | None = None
    data: dict[str, Any]
    model: Any
    ema: Any

    def get_model(self, cfg: Any = None, weights: nn.Module | None = None, verbose: bool = True) -> nn.Module:
        """Return ``weights`` itself, made trainable; ``cfg``, from which others build, is not looked at.

        Raises:
            InputError: there is no module, it is fused, or its classes or keypoints are not the data's.
        """
        if weights is None:
            raise InputError("the trainer for pruned networks got none; load one: YOLO('pruned.pt').train(trainer=…)")
        source = self.data.get("yaml_file", "the data")
        check_trainable(weights, classes=self.data["nc"], data=source, keypoints=self.data.get("kpt_shape"))
        for parameter in weights.parameters():
            parameter.requires_grad_(True)
        return weights

    def setup_model(self) -> Any:
        """Note the architecture that training has to leave alone."""
        checkpoint = super().setup_model()  # type: ignore[misc]
        self.kept = architecture(student_of(self.model))
        return checkpoint

    def train(self) -> None:
        """Train as the class behind does, then raise PlanError if the architecture is not what came in."""
        super().train()  # type: ignore[misc]
        if self.kept is not None:  # None in the parent process of a multi-GPU run, which trains nothing itself
            check_same_architecture(self.kept, architecture(student_of(self.ema.ema)))


def check_trainable(model: Any, *, classes: int, data: object, keypoints: Sequence[int] | None = None) -> None:
    """Raise InputError unless ``model`` is an unfused YOLO network for ``classes`` classes.

    Args:
        model: the network.
        classes: how many the data has.
        data: what the data is called in the message.
        keypoints: number of points and of values per point in the data, if it has any; only pose networks are asked.
    """
    if not hasattr(model, "is_fused"):
        raise InputError(f"expected a YOLO network of Ultralytics, got {type(model).__name__}; load one with YOLO(…)")
    if model.is_fused():
        raise InputError("the network's batch norms are folded into its convolutions (fuse()); use the unfused one")
    own = class_count(model)
    if own != classes:
        raise InputError(f"the network tells {own} classes apart and {data} has {classes}; use matching ones")
    points = getattr(model.model[-1], "kpt_shape", None)
    if points is not None and keypoints is not None and list(points) != list(keypoints):
        raise InputError(
            f"the network's kpt_shape is {list(points)} and that of {data} {list(keypoints)}; use matching ones"
        )


def class_count(model: Any) -> int:
    """Return how many classes a YOLO network's head tells apart."""
    head = model.model[-1]
    return int(head.nc if hasattr(head, "nc") else head.linear.out_features)


def student_of(model: Any) -> nn.Module:
    """Return the network that is trained: ``model``, or what it wraps together with a teacher."""
    return getattr(model, "student_model", model)


def refuse_rebuild(model: Any) -> None:
    """Make every later attempt to build a network from ``model.yaml`` fail with what to do instead.

    The refusal is the name of a first layer that does not exist: Ultralytics looks it up and raises KeyError
    with it. It is plain data: the file loads, predicts, validates and exports without deploy_prune.
    """
    refusal = _REFUSAL.format(task=model.task)
    backbone = model.yaml["backbone"]
    if backbone[0][2] != refusal:
        model.yaml = {**model.yaml, "backbone": [[-1, 1, refusal, []], *backbone]}
