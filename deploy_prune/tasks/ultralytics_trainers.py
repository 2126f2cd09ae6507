"""The trainer classes that keep a pruned network, one per task."""

from deploy_prune.tasks import ultralytics_api as api
from deploy_prune.tasks.kept_module import KeptModule
from deploy_prune.tasks.ultralytics_kinds import KINDS, find_kind


def pruned_trainer(task: str) -> type:
    """Return the trainer class that keeps a pruned network: ``YOLO("pruned.pt").train(trainer=…)``.

    The class is importable from this module (``PrunedDetectionTrainer``), so that it can be pickled. When
    training ends it has proved that no channel came back.
    """
    name = f"Pruned{find_kind(task).prefix}Trainer"
    return globals().get(name) or __getattr__(name)


def __getattr__(name: str) -> type:
    """Make a trainer class when it is first asked for: importing this file does not import Ultralytics."""
    for task, kind in KINDS.items():
        if name == f"Pruned{kind.prefix}Trainer":
            bases = (KeptModule, api.find_class(task, "Trainer"))
            globals()[name] = type(name, bases, {"__module__": __name__, "__doc__": KeptModule.__doc__})
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
