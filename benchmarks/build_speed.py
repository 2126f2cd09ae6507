"""How long building the dependency graph and pruning every group takes, beside Torch-Pruning, paired in one run.

Each round gives both tools a fresh copy of the model, in the order A B, B A, …: analyse it on one image (or sentence)
of the size that it is made for, score with group L2 magnitude, remove 30 % of every group in place. Importing, copying
and our oracle do not count. Torch-Pruning is used as its README says: the layers that make the output ignored, the
heads of each attention given (neither search is timed). A model counts where both tools end with one that runs. Written
to JSON after each model.

    python benchmarks/build_speed.py [--rounds 5] [--match 'torchvision*/resnet*']
    python benchmarks/build_speed.py --llama      # analysis of a LLaMA of a billion parameters: seconds and memory
    python benchmarks/build_speed.py --write      # the tables of docs/speed.md from the last results; measures nothing
"""

import argparse
import copy
import dataclasses
import datetime
import fnmatch
import gc
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false", "HF_HUB_OFFLINE": "1"}
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import psutil
import timm
import torch
import torch_pruning
import torchvision
import transformers
from markers import fill
from rich.console import Console
from rich.progress import track
from rich.table import Table
from zoo import peer, registry
from zoo.entry import Case

import deploy_prune as tp
from deploy_prune.graph.calling import call_model
from deploy_prune.graph.trace import trace
from deploy_prune.graph.units import find_units

FILE = Path(__file__).resolve().parent / "results" / "build_speed.json"
RATIO, SLOW_S = 0.3, 0.5

MODELS = {
    "torchvision-classification": (
        "resnet18 resnet50 wide_resnet50_2 resnext50_32x4d mobilenet_v2 mobilenet_v3_large mnasnet1_0 densenet121 "
        "squeezenet1_1 efficientnet_b0 efficientnet_v2_s convnext_tiny regnet_y_400mf googlenet inception_v3 vgg16"
    ),
    "torchvision-segmentation": "deeplabv3_resnet50 lraspp_mobilenet_v3_large",
    "timm": "deit_tiny_patch16_224 convmixer_768_32 hrnet_w18_small resnetv2_50 mixer_s32_224 dla46x_c",
    "ultralytics": "yolov5n yolov8n yolov8n-cls",
    "transformers": "bert vit llama",
}
"""Family of the zoo -> its models to time."""

SIZES = {"torchvision-segmentation": 520, "ultralytics": 640, "inception_v3": 299}
"""Pixels by model or family; classifiers take 224."""

CONFIGURATIONS = {
    "bert": ("BertForMaskedLM", {}),
    "vit": ("ViTForImageClassification", {}),
    "llama": (
        "LlamaForCausalLM",
        {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12},
    ),
}
"""Class and configuration of a transformer: the base size, 90 to 160 million parameters."""


def standard_case(family: str, name: str) -> Case:
    """A model as its library builds it, and one input of the size that it is made for."""
    torch.manual_seed(0)
    if family == "transformers":
        kind, config = CONFIGURATIONS[name]
        model = getattr(transformers, kind)(getattr(transformers, kind).config_class(**config)).eval()
        if name == "vit":
            return Case(model, torch.rand(1, 3, 224, 224))
        return Case(model, {"input_ids": torch.randint(3, 1000, (1, 64))} | ({"use_cache": False} if config else {}))
    if family == "timm":
        model = timm.create_model(name).eval()
        return Case(model, torch.rand(1, *timm.data.resolve_model_data_config(model)["input_size"]))
    pixels = SIZES.get(name, SIZES.get(family, 224))
    if family == "torchvision-classification":
        options = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
        return Case(torchvision.models.get_model(name, **options).eval(), torch.rand(1, 3, pixels, pixels))
    return dataclasses.replace(registry.find(family, name).build(), inputs=torch.rand(1, 3, pixels, pixels))


def ours(case: Case, model: torch.nn.Module, **options: object) -> None:
    """Analyse and prune with this package."""
    importance = tp.importance.GroupMagnitudeImportance(p=2)
    tp.pruner.BasePruner(model, case.inputs, importance, pruning_ratio=RATIO, **options).step()


def theirs(case: Case, model: torch.nn.Module, **options: object) -> None:
    """Analyse and prune with Torch-Pruning."""
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    torch_pruning.pruner.BasePruner(model, case.inputs, importance, pruning_ratio=RATIO, **options).step()


def measure(family: str, name: str, rounds: int) -> dict[str, Any]:
    """Seconds of each tool per round; or what went wrong, of a tool that fails in the first."""
    outcome: dict[str, Any] = {"family": family, "name": name, "ours_s": [], "theirs_s": []}
    case = standard_case(family, name)
    names = {module: name for name, module in case.model.named_modules()}
    ignored = [names[layer] for layer in peer.output_layers(case.model, case)]
    outcome["parameters"] = sum(p.numel() for p in case.model.parameters())
    for turn in range(rounds):
        for tool in ("ours", "theirs") if turn % 2 == 0 else ("theirs", "ours"):
            model = copy.deepcopy(case.model)
            options = {k: v for k, v in case.options.items() if v is not None}
            if tool == "theirs":
                modules = dict(model.named_modules())
                options |= {"ignored_layers": [modules[n] for n in ignored], "num_heads": peer.heads_of(model)}
                options |= peer.whole_heads(model, RATIO)
            try:
                seconds = timed(globals()[tool], case, model, **options)
                if turn == 0:
                    outcome[f"{tool}_parameters"] = parameters_of_running(case, model, options.get("num_heads"))
            except Exception as error:
                outcome["failed"], outcome["error"] = tool, f"{type(error).__name__}: {error}".splitlines()[0][:120]
                return outcome
            outcome[f"{tool}_s"].append(seconds)
    return outcome


def timed(prune: Callable[..., None], case: Case, model: torch.nn.Module, **options: object) -> float:
    """Seconds of processor time of one tool on one model: others on the machine do not count."""
    gc.collect()
    started = time.process_time()
    prune(case, model, **options)
    return time.process_time() - started


def parameters_of_running(case: Case, model: torch.nn.Module, heads: dict | None) -> int:
    """Parameters of a pruned model that runs; Torch-Pruning's gets the attributes that its examples set by hand."""
    if heads is not None:
        peer.update_attributes(model, heads)
    with torch.no_grad():
        (case.forward_fn or call_model)(model, case.inputs)
    return sum(p.numel() for p in model.parameters())


def analyse_llama() -> dict[str, object]:
    """Seconds and peak memory above the weights of analysing a LLaMA of a billion parameters in float32."""
    config = transformers.LlamaConfig(
        hidden_size=2048, intermediate_size=5632, num_hidden_layers=20, num_attention_heads=32,
        num_key_value_heads=4, vocab_size=32000, pad_token_id=0,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    inputs = {"input_ids": torch.randint(0, 32000, (1, 16)), "use_cache": False}
    with torch.no_grad():
        model(**inputs)
    before = psutil.Process().memory_info().rss
    started = time.process_time()
    units = find_units(trace(model, inputs), [n for n, _ in model.named_parameters()])
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    weights = sum(p.numel() for p in model.parameters())
    return {
        "seconds": seconds,
        "bytes_above": max(peak - before, 0),
        "parameters": weights,
        "groups": len(units.groups),
    }


def in_own_process(send: Connection) -> None:
    """Analyse the LLaMA where no earlier model has raised the peak."""
    torch.set_num_threads(1)
    send.send(analyse_llama())


def conditions() -> dict[str, object]:
    """What the figures depend on."""
    versions = {n: importlib.metadata.version(n) for n in ("deploy_prune", "torch-pruning", "torch", *PACKAGES)}
    machine = f"{processor()}, one thread, processor time (machine shared with other work)"
    return {"machine": machine, "python": platform.python_version(), "date": datetime.date.today().isoformat(),
            "ratio": RATIO, "versions": versions}  # fmt: skip


PACKAGES = ("torchvision", "timm", "ultralytics", "transformers")


def processor() -> str:
    """The processor's name, as Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def save(content: dict[str, object]) -> None:
    """Write the file, whole or not at all."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    part = FILE.with_name(f".{FILE.name}.{os.getpid()}")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(FILE)


def ratios(outcome: dict) -> list[float]:
    """Torch-Pruning's seconds over ours, per round."""
    return [b / a for a, b in zip(outcome["ours_s"], outcome["theirs_s"], strict=False)]


def row(outcome: dict) -> list[str]:
    """Cells of the table."""
    name, mine, other = outcome["name"], outcome["ours_s"], outcome["theirs_s"]
    if outcome.get("failed") == "theirs":
        return [name, f"{statistics.median(mine):.2f}" if mine else "", "fails", ""]
    if outcome.get("failed"):
        return [name, "fails", "", ""]
    return [name, f"{statistics.median(mine):.2f}", f"{statistics.median(other):.2f}",
            f"{statistics.median(ratios(outcome)):.1f}×"]  # fmt: skip


def summary(outcomes: list[dict]) -> str:
    """The geometric mean over slow models, and the slowest comparison."""
    both = [o for o in outcomes if not o.get("failed")]
    if not both:
        return "no model that both tools prune"
    medians = {o["name"]: statistics.median(ratios(o)) for o in both}
    slow = [medians[o["name"]] for o in both if statistics.median(o["theirs_s"]) > SLOW_S]
    worst = min(medians, key=medians.__getitem__)
    text = f"{len(both)} models that both prune; lowest ratio {medians[worst]:.2f}× ({worst})"
    if slow:
        text += f"; geometric mean over the {len(slow)} that take Torch-Pruning more than {SLOW_S} s: "
        text += f"{statistics.geometric_mean(slow):.1f}×"
    return text


HEADER = ("model", "ours, s", "Torch-Pruning, s", "ratio")


def markdown(content: dict) -> str:
    """The tables of docs/speed.md."""
    rows = [HEADER, ("---",) * 4, *(row(o) for o in content["outcomes"])]
    versions = ", ".join(f"{n} {v}" for n, v in content["versions"].items())
    where = f"Measured on {content['date']} on {content['machine']}; Python {content['python']}, {versions}."
    text = ["\n".join(f"| {' | '.join(cells)} |" for cells in rows), f"{summary(content['outcomes'])}.", where]
    return "\n\n".join([*text, *([llama_text(content["llama"])] if "llama" in content else [])])


def llama_text(found: dict) -> str:
    """One sentence on the large model."""
    return (
        f"A LLaMA of {found['parameters'] / 1e9:.2f} billion parameters in float32 is analysed in "
        f"{found['seconds']:.1f} s of processor time, with {found['bytes_above'] / 1e9:.2f} GB above its weights "
        f"({found['groups']} groups)."
    )


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--match", default="*", help="only models whose family/name matches this pattern")
    parser.add_argument("--llama", action="store_true", help="the large model only")
    parser.add_argument("--write", action="store_true", help="write the tables of the last results into docs/speed.md")
    options = parser.parse_args()
    earlier = json.loads(FILE.read_text()) if FILE.exists() else {"outcomes": []}
    if options.write:
        fill("docs/speed.md", "speed", "build_speed.py", markdown(earlier))
        return
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    content = {**earlier, **conditions()}
    console = Console()
    if options.llama:
        context = multiprocessing.get_context("spawn")
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=in_own_process, args=(send,))
        process.start()
        content["llama"] = receive.recv()
        process.join()
        console.print(llama_text(content["llama"]))
        save(content)
        return
    measure("torchvision-classification", "resnet18", 1)  # imports on first use
    known = {(o["family"], o["name"]): o for o in earlier["outcomes"]}
    todo = [
        (f, n) for f, names in MODELS.items() for n in names.split() if fnmatch.fnmatchcase(f"{f}/{n}", options.match)
    ]
    for family, name in track(todo, "build and prune", console=console):
        known[family, name] = measure(family, name, options.rounds)
        console.print("  ".join(row(known[family, name])), known[family, name].get("error", ""), highlight=False)
        content["outcomes"] = [known[f, n] for f, names in MODELS.items() for n in names.split() if (f, n) in known]
        save(content)
    table = Table(*HEADER)
    for outcome in content["outcomes"]:
        table.add_row(*row(outcome))
    console.print(table)
    console.print(summary(content["outcomes"]))


if __name__ == "__main__":
    main()
