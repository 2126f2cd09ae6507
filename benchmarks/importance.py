"""Which criterion keeps a small network right, without training it again? Real digits, three seeds, every criterion.

A convolutional network of 8 x 8 digits (scikit-learn's, 1797 images) is trained. Then each criterion removes the same
share of every group's units, and the accuracy on images that neither training nor scoring has seen is taken at once,
and once more with batch norm's statistics taken anew from the training images. The last column has no pruning in it:
it is Spearman's rank correlation, mean over the groups, between the scores and what removing one unit alone does to
the loss. Criteria that need data see 256 training images. Figures go to JSON after each seed.

    python benchmarks/importance.py [--seeds 3] [--out benchmarks/results/importance.json]
"""

import argparse
import copy
import datetime
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from digits import Data, accuracy_of, split_digits, train
from scipy.stats import spearmanr
from torch import nn

import deploy_prune as tp

RATIOS = (0.1, 0.2, 0.4)
EPOCHS = 8
SCORED_IMAGES = 256
COLUMNS = (*(f"{ratio:.0%}" for ratio in RATIOS), f"{RATIOS[-1]:.0%}, new BN statistics", "rank correlation")

Criterion = Callable[[Any], torch.Tensor]


def build_network() -> nn.Module:
    """Four convolutions with batch norm, 32 to 128 channels, and a linear layer: four groups."""

    def layer(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    features = [*layer(1, 32), *layer(32, 64), *layer(64, 64, 2), *layer(64, 128)]
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def plain(kind: type, **arguments: Any) -> Callable[[nn.Module, Data], Criterion]:
    """A criterion that looks at weights alone."""
    return lambda model, data: kind(**arguments)


def by_gradient(kind: type, **arguments: Any) -> Callable[[nn.Module, Data], Criterion]:
    """A criterion over the gradient of the mean loss."""

    def prepare(model: nn.Module, data: Data) -> Criterion:
        model.zero_grad()
        F.cross_entropy(model(data[0]), data[1]).backward()
        return kind(**arguments)

    return prepare


def by_sample(kind: type, **arguments: Any) -> Callable[[nn.Module, Data], Criterion]:
    """A criterion over the gradients of single samples."""

    def prepare(model: nn.Module, data: Data) -> Criterion:
        criterion = kind(**arguments)
        for image, label in zip(*data, strict=True):
            model.zero_grad()
            F.cross_entropy(model(image[None]), label[None]).backward()
            criterion.accumulate_grad(model)
        return criterion

    return prepare


def by_activation(kind: type, **arguments: Any) -> Callable[[nn.Module, Data], Criterion]:
    """A criterion over activations."""

    def prepare(model: nn.Module, data: Data) -> Criterion:
        criterion = kind(**arguments)
        with criterion.collect(model), torch.no_grad():
            model(data[0])
        return criterion

    return prepare


imp = tp.importance
CRITERIA: dict[str, Callable[[nn.Module, Data], Criterion]] = {
    "random": plain(imp.RandomImportance),
    "magnitude L1": plain(imp.MagnitudeImportance, p=1),
    "magnitude L2": plain(imp.MagnitudeImportance),
    "magnitude L2, first layer": plain(imp.MagnitudeImportance, group_reduction="first"),
    "LAMP": plain(imp.LAMPImportance),
    "BN scale": plain(imp.BNScaleImportance),
    "FPGM": plain(imp.FPGMImportance),
    "Taylor": by_gradient(imp.TaylorImportance),
    "Taylor, multivariable": by_gradient(imp.TaylorImportance, multivariable=True),
    "Hessian": by_sample(imp.HessianImportance),
    "OBDC": by_sample(imp.OBDCImportance),
    "Fisher": by_sample(imp.FisherImportance),
    "activation": by_activation(imp.ActivationImportance),
    "Wanda": by_activation(imp.WandaImportance),
}


@torch.no_grad()
def loss_changes(model: nn.Module, group: Any, data: Data) -> list[float]:
    """What zeroing one unit of the group, and nothing else, adds to the loss; one figure per unit."""
    before = F.cross_entropy(model(data[0]), data[1]).item()
    slices = [(d.tensor, d.axis, i) for d, i in group.slices() if isinstance(d.tensor, nn.Parameter)]
    changes = []
    for unit in range(group.width):
        kept = [tensor.clone() for tensor, _, _ in slices]
        for tensor, axis, indices in slices:
            tensor.index_fill_(axis, indices[unit], 0)
        changes.append(F.cross_entropy(model(data[0]), data[1]).item() - before)
        for (tensor, _, _), old in zip(slices, kept, strict=True):
            tensor.copy_(old)
    return changes


@torch.no_grad()
def renew_statistics(model: nn.Module, images: torch.Tensor) -> None:
    """Batch norm's running statistics become those of ``images``."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    model.train()
    model(images)
    model.eval()


def measure_seed(seed: int) -> dict[str, list[float]]:
    """One figure per column by criterion; "dense" has its accuracy alone."""
    torch.manual_seed(seed)
    learned, held_out = split_digits(seed)
    dense = train(build_network(), learned, epochs=EPOCHS, rate=3e-3, batch=32)
    scored = (learned[0][:SCORED_IMAGES], learned[1][:SCORED_IMAGES])
    groups = list(tp.DependencyGraph().build_dependency(dense, example_inputs=scored[0][:1]).get_all_groups())
    truth = {group.name: loss_changes(dense, group, scored) for group in groups}
    found = {"dense": [100 * accuracy_of(dense, held_out)]}
    for name, prepare in CRITERIA.items():
        criterion = prepare(dense, scored)
        scores = {group.name: criterion(group) for group in groups}
        found[name] = []
        for ratio in RATIOS:
            model = copy.deepcopy(dense)
            pruner = tp.pruner.BasePruner(
                model, scored[0][:1], importance=lambda group, scores=scores: scores[group.name], pruning_ratio=ratio
            )
            pruner.step()
            found[name].append(100 * accuracy_of(model, held_out))
        renew_statistics(model, learned[0])
        found[name].append(100 * accuracy_of(model, held_out))
        ranks = [spearmanr(scores[name], changes).statistic for name, changes in truth.items()]
        found[name].append(statistics.mean(map(float, ranks)))
    return found


def table(runs: list[dict[str, list[float]]]) -> str:
    """Mean and deviation over the seeds as a markdown table."""

    def cell(values: list[float], digits: int = 1) -> str:
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        return f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}"

    lines = ["| criterion | " + " | ".join(COLUMNS) + " |", "|---|" + "--:|" * len(COLUMNS)]
    for name in CRITERIA:
        *accuracies, ranks = zip(*(run[name] for run in runs), strict=True)
        lines.append(f"| {name} | " + " | ".join([*map(cell, accuracies), cell(ranks, 2)]) + " |")
    return "\n".join([*lines, "", f"Dense: {cell([run['dense'][0] for run in runs])} %."])


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Run all seeds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/importance.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs: list[dict[str, list[float]]] = []
    for seed in range(arguments.seeds):
        runs.append(measure_seed(seed))
        result = {
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "processor": processor(),
            "torch": torch.__version__,
            "epochs": EPOCHS,
            "columns": COLUMNS,
            "scored_images": SCORED_IMAGES,
            "processor_s": round(time.process_time(), 1),
            "runs": runs,
        }
        part = arguments.out.with_suffix(".part")
        part.write_text(json.dumps(result, indent=1) + "\n")
        part.replace(arguments.out)
    print(table(runs))
    print(f"{result['processor']}, one thread, {result['date']}, {result['processor_s']:.0f} s of it")


if __name__ == "__main__":
    main()
