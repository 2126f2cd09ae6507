"""What recovery without training wins back: accuracy of the dense, the plainly pruned and the recovered network.

ResNet-18 and MobileNetV2 (torchvision) are trained on scikit-learn's digits, enlarged to 32 pixels. L2 magnitude
removes a share of every group's units. Recovery sees 64 of the training images; accuracy is taken on a third of the
images that nothing else has seen. A finished run of ``pipelines/yolov8n_digits.yaml`` adds its YOLOv8n, judged by
mAP50-95 on the run's validation images: pruned by the same shares, and by the run's own plan. The last column is the
share of the lost accuracy that came back. Figures go to JSON after each row, and rows that are there already are not
measured again.

    python benchmarks/recovery.py [--seeds 2] [--run runs/yolov8n_digits] [--out benchmarks/results/recovery.json]
"""

import argparse
import copy
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from digits import Data, accuracy_of, split_digits, train
from torch import nn
from torchvision import models

import deploy_prune as tp
from deploy_prune.recovery import recover
from deploy_prune.tasks.ultralytics import UltralyticsTask

SHARES = {f"{ratio:.0%} of units": ratio for ratio in (0.2, 0.35, 0.5)}
OWN_PLAN = "the run's plan"
IMAGES, BATCH = 64, 8
EPOCHS = 8
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNet-18": lambda: models.resnet18(num_classes=10),
    "MobileNetV2": lambda: models.mobilenet_v2(num_classes=10),
}

Key = tuple[str, str, int]


@dataclass(frozen=True)
class Row:
    """One pruned network; accuracies are shares of 1, ``seconds`` is what recovery took."""

    network: str
    pruned_by: str
    seed: int
    dense: float
    pruned: float
    recovered: float
    seconds: float
    kept: list[str]

    @property
    def key(self) -> Key:
        """What the row is of."""
        return (self.network, self.pruned_by, self.seed)

    @property
    def returned(self) -> float:
        """The share of the lost accuracy that came back."""
        return (self.recovered - self.pruned) / (self.dense - self.pruned) if self.dense > self.pruned else 1.0


def enlarged(data: Data) -> Data:
    """The images as (n, 3, 32, 32)."""
    return F.interpolate(data[0], scale_factor=4).expand(-1, 3, -1, -1).contiguous(), data[1]


def cross_entropy(model: nn.Module, batch: Data) -> torch.Tensor:
    """The loss of a classifier."""
    return F.cross_entropy(model(batch[0]), batch[1])


def prune(dense: nn.Module, inputs: torch.Tensor, ratio: float, **settings: Any) -> tuple[nn.Module, tp.Plan]:
    """The network without this share of every group's units, those of least L2 norm."""
    model = copy.deepcopy(dense)
    pruner = tp.MagnitudePruner(model, inputs, pruning_ratio=ratio, **settings)
    pruner.step()
    return model, pruner.DG.plan


@dataclass(frozen=True)
class Subject:
    """A dense network with its data."""

    network: str
    seed: int
    dense: nn.Module
    batches: Sequence[Any]
    loss: Callable[[nn.Module, Any], torch.Tensor]
    judge: Callable[[nn.Module], float]

    def measure(self, pruned_by: str, pruned: nn.Module, plan: tp.Plan) -> Row:
        """Recover a pruned copy and judge all three."""
        began = time.perf_counter()
        found = recover(self.dense, pruned, plan, self.batches, self.loss)
        seconds = time.perf_counter() - began
        before, plain, after = (self.judge(model) for model in (self.dense, pruned, found.model))
        kept = [step.name for step in found.steps if step.kept]
        return Row(self.network, pruned_by, self.seed, before, plain, after, seconds, kept)


def measure_classifiers(name: str, seed: int, done: set[Key]) -> Iterator[Row]:
    """One network, every share."""
    wanted = {by: ratio for by, ratio in SHARES.items() if (name, by, seed) not in done}
    if not wanted:
        return
    torch.manual_seed(seed)
    learned, held_out = map(enlarged, split_digits(seed))
    dense = train(NETWORKS[name](), learned, epochs=EPOCHS, rate=2e-3, batch=32)
    batches = list(zip(*(part[:IMAGES].split(BATCH) for part in learned), strict=True))
    subject = Subject(name, seed, dense, batches, cross_entropy, lambda model: accuracy_of(model, held_out))
    for by, ratio in wanted.items():
        yield subject.measure(by, *prune(dense, learned[0][:1], ratio))


def measure_yolo(run: Path, done: set[Key]) -> Iterator[Row]:
    """The network of a finished run."""
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    data, size = run / "data" / "digits" / "data.yaml", recipe["data"]["image_size"]
    task = UltralyticsTask(data=data, task=recipe["task"], model=recipe["model"], image_size=size)
    dense = task.load(run / "train" / "dense.pt")
    batches = task.calibration_batches(IMAGES, BATCH)
    subject = Subject("YOLOv8n", 0, dense, batches, task.loss, lambda model: task.evaluate(model).value)
    plan = tp.Plan.load(run / "search" / "plan.json")
    if ("YOLOv8n", OWN_PLAN, 0) not in done:
        yield subject.measure(OWN_PLAN, tp.apply_plan(dense, plan), plan)
    for by, ratio in SHARES.items():
        if ("YOLOv8n", by, 0) not in done:
            pruned, plan = prune(dense, task.example_inputs(), ratio, output_transform=task.kept_output)
            yield subject.measure(by, pruned, plan)


def table(rows: Sequence[Row]) -> str:
    """Means over seeds as a markdown table, and the mean share that came back."""
    lines = ["| network | removed | dense | pruned | recovered | of the loss came back | s |", "|---|---|" + "--:|" * 5]
    for network, pruned_by in dict.fromkeys((row.network, row.pruned_by) for row in rows):
        own = [row for row in rows if (row.network, row.pruned_by) == (network, pruned_by)]

        def mean(name: str, own: list[Row] = own) -> float:
            return statistics.mean(getattr(row, name) for row in own)

        figures = " | ".join(f"{mean(name):.3f}" for name in ("dense", "pruned", "recovered"))
        lines.append(f"| {network} | {pruned_by} | {figures} | {mean('returned'):.0%} | {mean('seconds'):.0f} |")
    return "\n".join([*lines, "", f"Mean share that came back: {statistics.mean(r.returned for r in rows):.0%}."])


def main() -> None:
    """Run all networks."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--run", type=Path, help="folder of a finished run of pipelines/yolov8n_digits.yaml")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/recovery.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [Row(**row) for row in json.loads(arguments.out.read_text())["rows"]] if arguments.out.exists() else []
    done = {row.key for row in rows}
    parts = [measure_classifiers(name, seed, done) for name in arguments.networks for seed in range(arguments.seeds)]
    parts += [measure_yolo(arguments.run, done)] if arguments.run else []
    for row in (row for part in parts for row in part):
        rows.append(row)
        print(f"{row.network}, {row.pruned_by}: {row.dense:.3f}, {row.pruned:.3f}, {row.recovered:.3f}", flush=True)
        result = {
            "images": IMAGES,
            "torch": torch.__version__,
            "machine": platform.machine(),
            "rows": [asdict(row) for row in rows],
        }
        temporary = arguments.out.with_suffix(".tmp")
        temporary.write_text(json.dumps(result, indent=1))
        temporary.replace(arguments.out)
    print(table(rows))


if __name__ == "__main__":
    main()
