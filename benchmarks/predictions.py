"""Does the latency model predict what the device measures? Over random plans that it never saw.

    python benchmarks/budgets.py && python benchmarks/predictions.py [--models resnet50 …] [--plans 12]

Run it with the store of budgets.py, which has the profiled variants. Each random plan draws how narrow it is at most,
then a width for each group from there up to full. It is predicted by the model fitted to the variants of the first
search, and measured in turns with the dense network. Plans of the closed loop are in budgets.py's results, predicted
before they were measured.
"""

import argparse
import datetime
import json
import tempfile
from pathlib import Path

import latency_models
import numpy as np
from markers import ROOT
from rich.console import Console

from deploy_prune.hardware.machine import detect_machine
from deploy_prune.hardware.profile import load_profile
from deploy_prune.latency.model import LatencyModel
from deploy_prune.pipeline.latency_search import LatencySearch, Subject
from deploy_prune.runtime.measure import compare
from deploy_prune.store import MeasurementStore

PAIRS = 3  # of fresh workers per plan: noise well below the errors looked for


def random_widths(menu, random):
    """A width for each group, all of them from a common share of the menu upwards."""
    least = random.uniform(0, 0.8)
    return {g: int(w[random.integers(int(least * len(w)), len(w))]) for g, w in menu.items()}


def judge_model(name, profile, store, plans):
    """Predicted and measured seconds of each random plan."""
    case, random = latency_models.build(name), np.random.default_rng(7)
    brief = profile.model_copy(update={"measuring": profile.measuring.model_copy(update={"pairs": PAIRS})})
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        subject = Subject(case.model, case.inputs, case.export, output_transform=case.kept_output)
        search = LatencySearch.of(subject, profile, store, folder)
        loop = search.loop
        fitted = LatencyModel.fit(loop.samples, loop.prunable.full_widths)
        unit = loop.device.dense_s / fitted.predict(loop.prunable.full_widths).total_s
        for _ in range(plans):
            widths = random_widths(loop.menu.widths, random)
            file = case.export(loop.prunable.build(widths), folder / "random.onnx")
            predicted = fitted.predict(widths)
            measured_s = loop.device.dense_s / compare(loop.device.dense, file, brief).speedup
            found.append({
                "predicted_s": unit * predicted.total_s, "std_s": unit * predicted.std_s, "measured_s": measured_s,
            })  # fmt: skip
    return {"model": name, "plans": found, **summary(found)}


def summary(plans):
    """Relative errors: median, 90th percentile, bias, and the share within two standard deviations."""
    errors = np.array([p["predicted_s"] / p["measured_s"] - 1 for p in plans])
    within = [abs(p["predicted_s"] - p["measured_s"]) <= 2 * p["std_s"] for p in plans]
    return {
        "median": float(np.median(np.abs(errors))),
        "p90": float(np.percentile(np.abs(errors), 90)),
        "bias": float(np.median(errors)),
        "within_2_std": float(np.mean(within)),
    }


def main():
    """Judge the models, one after the other; what is there is kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=latency_models.names(), default=latency_models.names())
    parser.add_argument("--profile", default="cpu-onnxruntime")
    parser.add_argument("--plans", type=int, default=12)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    profile, store, console = load_profile(options.profile), MeasurementStore(options.store), Console()
    path = ROOT / "benchmarks" / "results" / "predictions" / f"{profile.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    results = {one["model"]: one for one in json.loads(path.read_text())["models"]} if path.exists() else {}
    for name in (n for n in options.models if options.again or n not in results):
        results[name] = judge_model(name, profile, store, options.plans)
        console.print(name, {k: v for k, v in results[name].items() if k != "plans"}, highlight=False)
        everything = [plan for one in results.values() for plan in one["plans"]]
        content = {
            "machine": detect_machine().processor,
            "engine": f"{profile.engine} {profile.engine_facts.version}",
            "date": datetime.date.today().isoformat(),
            "all": summary(everything),
            "models": list(results.values()),
        }
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(content, indent=1))
        temporary.replace(path)


if __name__ == "__main__":
    main()
