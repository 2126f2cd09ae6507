"""How many models of the zoo each tool prunes right, per family, as the README's table; no number is typed by hand.

    python tests/zoo/run.py --json benchmarks/results/zoo/ours.json
    python tests/zoo/run.py --tool torch-pruning --json benchmarks/results/zoo/torch-pruning.json
    python benchmarks/coverage.py --write

Without --write the table is printed only.
"""

import argparse
import collections
import json
from pathlib import Path

from markers import ROOT, fill

RESULTS = Path("benchmarks/results/zoo")
FILES = {"deploy_prune": "ours.json", "Torch-Pruning": "torch-pruning.json"}


def load(file: str) -> dict:
    """A runner's file."""
    path = ROOT / RESULTS / file
    if not path.exists():
        raise SystemExit(f"{path} is missing; write it with tests/zoo/run.py --json {path}")
    return json.loads(path.read_text())


def passed(outcomes: list[dict]) -> tuple[int, int]:
    """Models that passed, and all."""
    return sum(o["status"] == "ok" for o in outcomes), len(outcomes)


def share(outcomes: list[dict]) -> str:
    """``passed / all``."""
    return "{} / {}".format(*passed(outcomes))


def coverage_markdown(contents: dict[str, dict]) -> str:
    """One row per family with each tool's share, a sum, and what the numbers mean.

    Args:
        contents: tool -> the runner's file. All files must hold the same models.
    """
    families: dict[str, dict[str, list[dict]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for tool, content in contents.items():
        for outcome in content["outcomes"]:
            families[outcome["family"]][tool].append(outcome)
    for family, by_tool in families.items():
        names = {tool: {o["name"] for o in by_tool[tool]} for tool in contents}
        if len(set(map(frozenset, names.values()))) > 1:
            raise SystemExit(f"the files hold different models of {family}; run tests/zoo/run.py for both tools again")
    rows = [f"| models | {' | '.join(contents)} |", f"| --- |{' --- |' * len(contents)}"]
    for family, by_tool in families.items():
        rows.append(f"| {family} | {' | '.join(share(by_tool[tool]) for tool in contents)} |")
    total = [share([o for by_tool in families.values() for o in by_tool[tool]]) for tool in contents]
    rows.append(f"| **all** | {' | '.join(f'**{t}**' for t in total)} |")
    return "\n".join([*rows, "", caption(contents)])


def caption(contents: dict[str, dict]) -> str:
    """What was asked, judged and measured, and where the numbers stand."""
    first = next(iter(contents.values()))
    outcomes = [o for content in contents.values() for o in content["outcomes"]]
    weaker = sum(o["judged"] != "oracle" for o in outcomes)
    versions: dict[str, dict[str, None]] = collections.defaultdict(dict)  # by package, those of all tools in order
    for content in contents.values():
        for package, version in content["versions"].items():
            versions[package][version] = None
    text = (
        f"Right means: a random {first['ratio']:.0%} of every group is removed, at least 20 % of the parameters go, "
        "the result runs in eval and train mode, has gradients, keeps tied weights tied, and computes what the "
        "original with zeros in place of the removed weights computes (relative error below 1e-6 in float64)."
    )
    if weaker:
        text += f" {weaker} results could not be compared and were only run forward."
    for tool, content in contents.items():
        late = [o["error"].removeprefix("not done within ") for o in content["outcomes"] if o["stage"] == "time"]
        if late:
            text += f" {len(late)} models of {tool} were stopped after {' or '.join(sorted(set(late)))}."
        if less := sum(o["stage"] == "share" for o in content["outcomes"]):
            text += f" {less} more of {tool} run, but lose less than asked."
    text += f" Measured on {first['date']} on {first['machine']}; "
    text += ", ".join(f"{name} {' and '.join(found)}" for name, found in versions.items()) + ". From "
    return text + " and ".join(f"[{RESULTS / file}]({RESULTS / file})" for file in FILES.values()) + "."


def main() -> None:
    """Print the table, or write it into the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="replace the README's table")
    section = coverage_markdown({tool: load(file) for tool, file in FILES.items()})
    if parser.parse_args().write:
        fill("README.md", "coverage", "coverage.py", section)
    else:
        print(section)


if __name__ == "__main__":
    main()
