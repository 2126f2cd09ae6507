"""Prune every model of the zoo and judge the results, each in a process of its own.

    python tests/zoo/run.py --family torchvision --match 'resnet*' --json results.json
    python tests/zoo/run.py --json results.json --again failed
    python tests/zoo/run.py --tool torch-pruning --json peer.json

Ends with code 1 if any model fails.
"""

import argparse
import dataclasses
import datetime
import fnmatch
import json
import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from zoo import registry
from zoo.outcome import FAILED, OK, Outcome
from zoo.process import Task, context_for, judge_apart

TOOLS = ("ours", "torch-pruning")

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1",
    "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false",
}  # fmt: skip
"""One thread per model, and nothing is fetched."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", action="append", help="family or beginning of one; may be repeated")
    parser.add_argument("--match", default="*", help="only models whose name matches this pattern")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time")
    parser.add_argument("--json", type=Path, help="results; finished ones are kept and not run again")
    parser.add_argument("--again", choices=(FAILED, "all"), help="run failed ones, or all, again")
    parser.add_argument("--ratio", type=float, default=Task.ratio, help="share of every group that goes")
    parser.add_argument("--heads", action="store_true", help="remove whole attention heads too")
    parser.add_argument("--mistakes", type=int, default=0, help="wrong plans per model that the oracle must refuse")
    parser.add_argument("--tool", choices=TOOLS, default="ours")
    parser.add_argument("--limit", type=float, default=Task.limit_s, help="seconds per model")
    return parser.parse_args()


def chosen(prefixes, pattern):
    """Entries by family prefix and name; families whose package is missing are named and left out."""
    families = [f for f in registry.FAMILIES if not prefixes or any(f.startswith(p) for p in prefixes)]
    if not families:
        raise SystemExit(f"no family begins with {', '.join(prefixes)}; there are {', '.join(registry.FAMILIES)}")
    for family in (f for f in families if not registry.available(f)):
        Console(stderr=True).print(f"{family} left out: install {registry.package(family)}")
    there = [f for f in families if registry.available(f)]
    return there, [e for f in there for e in registry.entries(f) if fnmatch.fnmatchcase(e.name, pattern)]


def load(path):
    """Earlier outcomes by key."""
    if path is None or not path.exists():
        return {}
    outcomes = [Outcome(**o) for o in json.loads(path.read_text())["outcomes"]]
    return {o.key: o for o in outcomes}


def save(path, outcomes, conditions):
    """Write all outcomes, whole or not at all."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        content = {**conditions, "outcomes": [dataclasses.asdict(o) for o in outcomes.values()]}
        temporary.write_text(json.dumps(content, indent=1))
        temporary.replace(path)


def conditions(options):
    """What the numbers depend on."""
    versions = registry.versions(options.tool)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, one thread per model"
    day = datetime.date.today().isoformat()
    return {
        "tool": options.tool,
        "ratio": options.ratio,
        "heads": options.heads,
        "machine": machine,
        "date": day,
        "versions": versions,
    }


def run_all(todo, families, options, outcomes):
    """Judge what is left, saving after each."""
    context, facts = context_for(families, options.tool), conditions(options)
    task = Task(options.tool, options.ratio, options.heads, options.mistakes, options.limit)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress, ThreadPoolExecutor(options.jobs) as pool:
        bar = progress.add_task("zoo", total=len(todo))
        futures = [pool.submit(judge_apart, context, e.family, e.name, task) for e in todo]
        for future in as_completed(futures):
            outcome = future.result()
            outcomes[outcome.key] = outcome
            save(options.json, outcomes, facts)
            progress.update(bar, advance=1, description=outcome.name[:32])
            if outcome.status == FAILED:
                progress.console.print(f"[red]{outcome.key}[/] {outcome.stage}: ", end="", highlight=False)
                progress.console.print(outcome.error, markup=False, highlight=False)


def table(outcomes):
    """One row per model."""
    view = Table("model", "", "parameters", "removed", "free", "groups", "error", "build s", "prune s", "wall s")
    for o in outcomes:
        error = max(o.eval_error or 0, o.train_error or 0)
        mark = "[green]ok[/]" if o.status == OK else f"[red]{o.stage}[/]"
        mark += f" [yellow]{len(o.unseen)} unseen[/]" if o.unseen else ""
        view.add_row(
            o.key, mark, f"{o.parameters:,}", percent(o.removed_share), percent(o.free_share), str(o.groups),
            f"{error:.0e}", seconds(o.build_s), seconds(o.prune_s), seconds(o.wall_s),
        )  # fmt: skip
    return view


def percent(share):
    return "" if share is None else f"{share:.0%}"


def seconds(value):
    return "" if value is None else f"{value:.2f}"


def main():
    os.environ |= ENVIRONMENT
    options = arguments()
    families, entries = chosen(options.family, options.match)
    outcomes = load(options.json)
    keys = [f"{e.family}/{e.name}" for e in entries]
    repeat = {None: lambda o: False, FAILED: lambda o: o.status == FAILED, "all": lambda o: True}[options.again]
    todo = [e for e, key in zip(entries, keys, strict=True) if key not in outcomes or repeat(outcomes[key])]
    run_all(todo, families, options, outcomes)
    shown = [outcomes[key] for key in keys]
    Console().print(table(shown))
    passed = sum(o.status == OK for o in shown)
    Console().print(f"{passed} of {len(shown)} passed")
    raise SystemExit(passed < len(shown))


if __name__ == "__main__":
    main()
