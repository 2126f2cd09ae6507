"""What YOLO networks are for, and how Ultralytics spells it."""

from dataclasses import dataclass

from deploy_prune.errors import InputError


@dataclass(frozen=True)
class Kind:
    """How Ultralytics spells a task: prefix of its classes, key of its score, and the score's name."""

    prefix: str
    score_key: str
    score_name: str


KINDS = {
    "detect": Kind("Detection", "metrics/mAP50-95(B)", "mAP50-95"),
    "segment": Kind("Segmentation", "metrics/mAP50-95(M)", "mask mAP50-95"),
    "classify": Kind("Classification", "metrics/accuracy_top1", "top-1 accuracy"),
    "pose": Kind("Pose", "metrics/mAP50-95(P)", "pose mAP50-95"),
    "obb": Kind("OBB", "metrics/mAP50-95(B)", "oriented mAP50-95"),
}


def find_kind(task: str) -> Kind:
    """Return the entry of ``task``; raise InputError, naming the tasks there are, if there is none."""
    if task not in KINDS:
        raise InputError(f"unknown YOLO task {task!r}; choose one of: {', '.join(KINDS)}")
    return KINDS[task]
