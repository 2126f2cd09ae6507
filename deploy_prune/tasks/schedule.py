"""How long and how hard to train: the settings of one training run."""

from dataclasses import asdict, dataclass
from typing import Any

from deploy_prune.errors import InputError

OPTIMIZERS = ("Adam", "AdamW", "MuSGD", "NAdam", "RAdam", "RMSprop", "SGD")  # "auto" would ignore lr0


@dataclass(frozen=True)
class Schedule:
    """Settings of one run, named as Ultralytics names them (``ema_steps`` and those of distillation excepted).

    Attributes:
        optimizer: one of ``OPTIMIZERS``.
        lr0: learning rate after warm-up; it falls along a cosine to ``lr0 * lrf``.
        lrf: last learning rate as a fraction of ``lr0``.
        momentum: momentum, or the first beta of Adam.
        weight_decay: L2 penalty per step on weights (not on biases and norms).
        warmup_epochs: epochs over which the learning rate rises from zero.
        batch: images per optimizer step.
        ema_steps: how many of the last optimizer steps the averaged weights, which are the result, remember.
            Ultralytics' own average remembers next to nothing in a run of one or two thousand steps.
        mosaic: probability of joining four images into one.
        close_mosaic: last epochs without mosaic.
        scale: images are zoomed by a factor in 1 ± ``scale``.
        translate: and moved by up to this fraction of their size.
        fliplr: probability of a left-right mirror; zero where things are not their own mirror image (digits).
        hsv_h: change of hue, a fraction.
        hsv_s: change of saturation, a fraction.
        hsv_v: change of brightness, a fraction.
        distill: weight of the feature distance to the teacher, if there is one.
        distill_logits: in classification, weight of the distance to the teacher's outputs.
    """

    optimizer: str = "AdamW"
    lr0: float = 4e-3
    lrf: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: float = 2.0
    batch: int = 8
    ema_steps: int = 50
    mosaic: float = 0.0
    close_mosaic: int = 0
    scale: float = 0.2
    translate: float = 0.1
    fliplr: float = 0.0
    hsv_h: float = 0.015
    hsv_s: float = 0.4
    hsv_v: float = 0.3
    distill: float = 6.0
    distill_logits: float = 1.0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"unknown optimizer {self.optimizer!r}; choose one of {', '.join(OPTIMIZERS)}")

    def arguments(self) -> dict[str, Any]:
        """Return the settings as Ultralytics' own training arguments."""
        settings = asdict(self)
        settings["dis"] = settings.pop("distill")
        del settings["ema_steps"], settings["distill_logits"]
        return settings | {
            "nbs": self.batch,  # one optimizer step per batch: no gradient is carried over an epoch's end
            "warmup_bias_lr": 0.0,
            "cos_lr": True,
        }

    def ema_decay(self, step: int) -> float:
        """Return how much of the averaged weights stays at optimizer step 1, 2, ...: at first a plain mean."""
        return 1 - 1 / min(step, self.ema_steps)


# Measured on YOLOv8n from random weights, 1000 digit scenes of 160 pixels, 6 epochs, mAP50-95 on 200 others:
# batch 16: AdamW at 2e-3 0.518, 4e-3 0.574, 8e-3 0.550, MuSGD at 1e-2 0.569; at 4e-3 mosaic 0.5 gave 0.560.
# batch 8, AdamW at 4e-3: 0.613 to 0.615, for 4 % more processor time.
TRAINING = Schedule()
# A network with 2.3 times fewer MACs came in 3 epochs from 0.41 to 0.68 of the dense 0.69; with the dense one as
# teacher to 0.67, for 18 % more time.
FINETUNING = Schedule(lr0=2e-3, warmup_epochs=0.5)
