"""Which price of a width keeps a network right at equal MACs, and which keeps most MACs at equal latency?

    python benchmarks/menu.py accuracy [--seeds 3]     # small networks of digits, pruned by each price
    python benchmarks/menu.py efficiency [MODEL …]     # real speed-up over MAC reduction at 2x, random weights
    python benchmarks/menu.py cost                     # what pricing YOLOv8n at 640 pixels takes

`accuracy` trains two networks (benchmarks/menu_networks.py) per seed, solves for the least loss at 1/1.25 and 1/1.75
of the MACs under each price, and takes the accuracy on images that neither training nor pricing has seen, right after
pruning and, at 1/1.75, after one epoch under some of the prices. It also says how the sum of prices ranks plans against
their real loss, and how far curves through a few widths are off the losses that they were not told. `efficiency`
profiles a torchvision network with random weights, solves at twice the predicted speed under each data-free price, and
with --measure runs the closed loop under the default one. Figures go to benchmarks/results/menu/*.json.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from digits import Data, split_digits
from menu_networks import FINETUNE_EPOCHS, FINETUNE_LR, NETWORKS, judge, learn, trained
from scipy.stats import spearmanr
from torch import nn

from deploy_prune.count import Count, count
from deploy_prune.importance.calibration import Calibration
from deploy_prune.importance.named import criterion_named
from deploy_prune.latency.tables import CostTables
from deploy_prune.search.curve import Curve
from deploy_prune.search.loss import importance_menu, work_share
from deploy_prune.search.menu import Menu
from deploy_prune.search.pricing import measured_menu
from deploy_prune.search.prunable import Prunable
from deploy_prune.search.solver import solve

RESULTS = Path("benchmarks/results/menu")
RATIOS = (1.25, 1.75)
FINETUNED = ("importance, groups alike", "importance x MACs", "l2, sqrt of loss", "fisher, sqrt of loss")
STEP = 8
CALIBRATION_IMAGES = 128
RANDOM_PLANS = 30
Widths = Mapping[str, tuple[int, ...]]


def power(menu: Menu, exponent: float) -> Menu:
    """The menu with each loss raised to a power."""
    loss = {g: tuple(max(x, 0.0) ** exponent for x in losses) for g, losses in menu.loss.items()}
    return Menu(menu.widths, loss, menu.branches)


def free_menus(prunable: Prunable, widths: Widths, counted: Count) -> dict[str, Menu]:
    """Prices that need no data."""
    by_macs = importance_menu(prunable, widths, counted)
    macs = {g: work_share(prunable, g, counted) for g in widths}
    sizes = {n: p.numel() for n, p in prunable.model.named_parameters() if p.ndim > 1}
    by_params = Count(counted.macs, counted.params, {}, sizes)
    scale = {g: work_share(prunable, g, by_params) / macs[g] for g in widths}
    full = prunable.full_widths

    def weighed(factor: Mapping[str, float]) -> Menu:
        return Menu(widths, {g: tuple(factor[g] * x for x in by_macs.loss[g]) for g in widths})

    uniform = {g: tuple(macs[g] * (1 - w / full[g]) for w in choices) for g, choices in widths.items()}
    return {
        "importance, groups alike": weighed({g: 1 / macs[g] for g in widths}),
        "importance x MACs": by_macs,
        "importance x parameters": weighed(scale),
        "width x MACs": Menu(widths, uniform),
    }


def mac_tables(prunable: Prunable, widths: Widths, counted: Count) -> CostTables:
    """MACs at any widths, for networks in which a weight's axes lie in one group each or are parts of several."""
    parts: dict[str, dict[int, dict[str, float]]] = {}
    shapes = {name: p.shape for name, p in prunable.model.named_parameters()}
    for group in widths:
        for s in prunable.graph.units.group(group).slices:
            if s.parameter in counted.weights:
                share = len(np.unique(s.indices)) / shapes[s.parameter][s.axis]
                parts.setdefault(s.parameter, {}).setdefault(s.axis, {})[group] = share
    gone = {g: 1 - np.array(choices) / prunable.full_widths[g] for g, choices in widths.items()}
    unary = {g: np.zeros(len(choices)) for g, choices in widths.items()}
    pair: dict[tuple[str, str], Any] = {}
    for name, axes in parts.items():
        macs = counted.weights[name]
        for shares in axes.values():
            for g, share in shares.items():
                unary[g] -= macs * share * gone[g]
        if len(axes) == 2:
            rows, columns = axes.values()
            for g, h in ((g, h) for g in rows for h in columns):
                both = macs * rows[g] * columns[h] * np.outer(gone[g], gone[h])
                if g == h:
                    unary[g] += np.diag(both)
                else:
                    pair[g, h] = pair.get((g, h), 0.0) + both
    return CostTables(dict(widths), float(counted.macs), unary, pair)


def cross_entropy(model: nn.Module, batch: Any) -> torch.Tensor:
    """The mean loss of a batch (images, labels)."""
    return F.cross_entropy(model(batch[0]), batch[1])


def divergence_from(dense: nn.Module) -> Callable[[nn.Module, Any], torch.Tensor]:
    """The mean Kullback-Leibler divergence of the classes' probabilities from the dense network's."""

    def divergence(model: nn.Module, batch: Any) -> torch.Tensor:
        before, after = (F.log_softmax(m(batch[0]), 1) for m in (dense, model))
        return F.kl_div(after, before, log_target=True, reduction="batchmean")

    return divergence


def measured_menus(
    model: nn.Module, images: Data, widths: Widths
) -> tuple[dict[str, tuple[Prunable, Menu]], dict[str, Any]]:
    """Prices by measurement, and what curves are off at widths that they were not told."""
    loss = Calibration([images], cross_entropy)
    kinds = {"loss": loss, "KL": Calibration([images], divergence_from(model)), "outputs": Calibration([images[0]])}
    found: dict[str, tuple[Prunable, Menu]] = {}
    curves: dict[str, Any] = {}
    for name in ("l2", "taylor", "fisher", "hessian"):
        prunable = Prunable.of(model, images[0][:1], importance=criterion_named(name), calibration=loss)
        for kind, calibration in kinds.items() if name == "l2" else [("loss", loss)]:
            prices = measured_menu(prunable, widths, calibration)
            found[f"{name}, sqrt of {kind}"] = (prunable, prices.menu)
            if (name, kind) == ("l2", "loss"):
                found["l2, loss"] = (prunable, power(prices.menu, 2.0))
    exact = measured_menu(found["l2, loss"][0], widths, loss, points=max(map(len, widths.values()))).menu
    for points in (2, 3, 4, 5):
        curves[str(points)] = curve_error(power(exact, 2.0), points)
    found["l2, sqrt of loss, every width measured"] = (found["l2, loss"][0], exact)
    return found, curves


def curve_error(exact: Menu, points: int) -> float:
    """Sum over widths that are not measured of what the curve is off, as a share of the losses there."""
    off, total = 0.0, 0.0
    for group, choices in exact.widths.items():
        truth = dict(zip(choices, exact.loss[group], strict=True))
        curve = Curve(choices)
        while len(curve.measured) < points and (width := curve.next_width()) is not None:
            curve = Curve(choices, {**curve.measured, width: truth[width]})
        rest = [
            (truth[w], said) for w, said in zip(choices[:-1], curve.losses(), strict=False) if w not in curve.measured
        ]
        off += sum(abs(a - b) for a, b in rest)
        total += sum(a for a, _ in rest)
    return off / total if total else 0.0


def rank_correlations(
    prunable: Prunable, menus: Mapping[str, Menu], images: Data, plans: list[dict[str, int]]
) -> dict[str, float]:
    """Spearman's between the sum of prices and the loss of whole plans."""
    losses = [judge(prunable.build(widths), images)[1] for widths in plans]
    return {
        name: float(spearmanr([menu.loss_at(widths) for widths in plans], losses).statistic)
        for name, menu in menus.items()
    }


def random_plans(widths: Widths, seed: int) -> list[dict[str, int]]:
    """Plans that take from every group alike, but for chance: from a tenth to two thirds of the choices."""
    rng = np.random.default_rng(seed)
    plans = []
    for depth in np.linspace(0.1, 0.66, RANDOM_PLANS):
        shares = np.clip(rng.normal(1 - depth, 0.15, len(widths)), 0.05, 1)
        plans.append({g: c[round(s * (len(c) - 1))] for (g, c), s in zip(widths.items(), shares, strict=True)})
    return plans


def accuracy_of(kind: str, seed: int, folder: Path) -> dict[str, Any]:
    """Everything about one network."""
    learned, held_out = split_digits(seed)
    model = trained(kind, seed, learned, folder)
    images = (learned[0][:CALIBRATION_IMAGES], learned[1][:CALIBRATION_IMAGES])
    plain = Prunable.of(model, images[0][:1])
    widths, counted = plain.menu_widths(STEP), count(model, images[0][:1])
    tables = mac_tables(plain, widths, counted)
    measured, curves = measured_menus(model, images, widths)
    menus = {name: (plain, menu) for name, menu in free_menus(plain, widths, counted).items()} | measured
    rows: dict[str, Any] = {}
    chosen = []
    for name, (prunable, menu) in menus.items():
        rows[name] = {}
        for ratio in RATIOS:
            plan = solve(menu, tables, counted.macs / ratio, gap=1e-2, time_limit_s=8).widths
            pruned = prunable.build(plan)
            macs = count(pruned, images[0][:1]).macs
            entry = dict(zip(("accuracy", "loss"), judge(pruned, held_out), strict=True)) | {"macs": macs}
            if ratio == RATIOS[-1] and name in FINETUNED:
                entry["finetuned"] = judge(learn(pruned, learned, FINETUNE_EPOCHS, FINETUNE_LR, seed), held_out)[0]
            if prunable is measured["l2, loss"][0]:
                chosen.append(plan)
            rows[name][str(ratio)] = entry
            print(kind, seed, name, ratio, {k: round(v, 2) for k, v in entry.items()}, flush=True)
    prunable = measured["l2, loss"][0]
    ranked = {n: m for n, (p, m) in menus.items() if p in (prunable, plain)}
    ranks = {
        "random plans": rank_correlations(prunable, ranked, held_out, random_plans(widths, seed)),
        "plans of the solver": rank_correlations(prunable, ranked, held_out, chosen),
    }
    dense = judge(model, held_out)
    about = {"network": kind, "seed": seed, "dense": dense, "macs": counted.macs, "groups": len(widths)}
    sizes = {"widths": sum(map(len, widths.values())), "curve_error": curves, "rank_correlation": ranks}
    return about | sizes | {"prices": rows}


def run_accuracy(arguments: argparse.Namespace) -> None:
    """Both networks, all seeds; figures are written after each."""
    arguments.work.mkdir(parents=True, exist_ok=True)
    runs: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for kind in NETWORKS:
            runs.append(accuracy_of(kind, seed, arguments.work))
            write("accuracy", {"calibration_images": CALIBRATION_IMAGES, "runs": runs})
    print(accuracy_table(runs))


def accuracy_table(runs: list[dict[str, Any]]) -> str:
    """Mean accuracy by price, network and ratio as a markdown table."""
    kinds = sorted({run["network"] for run in runs}, reverse=True)
    columns = [(k, str(r), "accuracy") for k in kinds for r in RATIOS] + [
        (k, str(RATIOS[-1]), "finetuned") for k in kinds
    ]
    heads = [f"{k} 1/{r}" + (", tuned" if what == "finetuned" else "") for k, r, what in columns]
    lines = ["| price | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(heads)]
    for name in runs[0]["prices"]:
        cells = []
        for kind, ratio, what in columns:
            found = [run["prices"][name][ratio].get(what) for run in runs if run["network"] == kind]
            values = [value for value in found if value is not None]
            cells.append(f"{statistics.mean(values):.1f}" if values else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run_efficiency(arguments: argparse.Namespace) -> None:
    """Speed efficiency by price."""
    import torchvision

    from deploy_prune.export.onnx import export_onnx
    from deploy_prune.hardware.profile import load_profile
    from deploy_prune.latency.model import LatencyModel
    from deploy_prune.pipeline.device_aim import AIM
    from deploy_prune.pipeline.latency_budget import Budget
    from deploy_prune.pipeline.latency_search import LatencySearch, Subject
    from deploy_prune.store import MeasurementStore

    found = {}
    for name in arguments.models:
        torch.manual_seed(0)
        model, inputs = getattr(torchvision.models, name)(weights=None).eval(), torch.randn(1, 3, 224, 224)
        subject = Subject(model, inputs, lambda m, path, x=inputs: export_onnx(m, x, path))
        folder = arguments.work / name
        folder.mkdir(parents=True, exist_ok=True)
        search = LatencySearch.of(subject, load_profile("cpu-onnxruntime"), MeasurementStore(None), folder)
        prunable, menu = search.loop.prunable, search.loop.menu
        latency = LatencyModel.fit(search.loop.samples, prunable.full_widths)
        tables, dense_s = latency.tables(menu.widths), latency.predict(prunable.full_widths).total_s
        counted = count(model, inputs)
        entry: dict[str, Any] = {"predicted": {}}
        for price, candidate in free_menus(prunable, menu.widths, counted).items():
            solution = solve(candidate, tables, AIM * dense_s / 2)
            fewer = counted.macs / count(prunable.build(solution.widths), inputs).macs
            faster = dense_s / solution.predicted_s
            entry["predicted"][price] = {"speedup": faster, "mac_reduction": fewer, "efficiency": faster / fewer}
            print(name, price, entry["predicted"][price], flush=True)
        if arguments.measure:
            result = search.prune(Budget(speedup=2.0))
            fewer = result.dense_count.macs / result.pruned_count.macs
            compared = result.comparison
            entry["measured"] = {
                "speedup": compared.speedup, "low": compared.low, "high": compared.high,
                "mac_reduction": fewer, "efficiency": compared.speedup / fewer,
            }  # fmt: skip
            print(name, "measured", entry["measured"], flush=True)
        found[name] = entry
        write("efficiency", {"networks": found})


def run_cost(arguments: argparse.Namespace) -> None:
    """Seconds that pricing takes on YOLOv8n, by its own loss on images of 640 pixels."""
    from deploy_prune.datasets.write import write_digits
    from deploy_prune.tasks.ultralytics import UltralyticsTask

    size, images = 640, arguments.images
    data = write_digits("detect", arguments.work / "digits", train=images, val=2, image_size=size)
    task = UltralyticsTask(data=data, image_size=size)
    model = task.build().eval()
    calibration = Calibration(
        task.calibration_batches(images, 8), task.loss, singles=task.calibration_batches(images, 1)
    )
    figures: dict[str, Any] = {"images": images, "image_size": size, "threads": torch.get_num_threads()}
    for what in ("l2", "fisher"):
        figures[f"analysis and ranking by {what}"], prunable = timed(
            lambda what=what: Prunable.of(
                model, task.example_inputs(), importance=criterion_named(what), calibration=calibration,
                output_transform=task.kept_output,
            )
        )  # fmt: skip
        print(figures, flush=True)
    widths = prunable.menu_widths(16)
    figures["pricing"], prices = timed(lambda: measured_menu(prunable, widths, calibration))
    figures |= {
        "groups": len(widths),
        "widths": sum(len(w) - 1 for w in widths.values()),
        "measured": sum(map(len, prices.measured.values())),
        "leave_out_error": prices.leave_out_error,
    }
    print(figures)
    write("cost", figures)


def timed(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Wall and processor seconds of a call, and what it returned."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return {"wall_s": time.perf_counter() - wall, "processor_s": time.process_time() - processor}, result


def write(name: str, content: Mapping[str, Any]) -> None:
    """Write figures with machine and date, whole or not at all."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), platform.machine())
    about = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "processor": model,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "torch": torch.__version__,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    part = RESULTS / f"{name}.part"
    part.write_text(json.dumps(about | content, indent=1) + "\n")
    part.replace(RESULTS / f"{name}.json")


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("accuracy", "efficiency", "cost"))
    parser.add_argument("models", nargs="*", default=["mobilenet_v2", "efficientnet_b0"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=16, help="to price on, for cost")
    parser.add_argument("--measure", action="store_true", help="run the closed loop too")
    parser.add_argument("--work", type=Path, default=Path("runs/menu"), help="folder for trained networks and files")
    arguments = parser.parse_args()
    {"accuracy": run_accuracy, "efficiency": run_efficiency, "cost": run_cost}[arguments.what](arguments)


if __name__ == "__main__":
    main()
