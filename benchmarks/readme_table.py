"""Fill the README's result, between its markers, from a run's report.json; no number is typed by hand.

    python benchmarks/readme_table.py runs/yolov8n_digits

Copies report.json and the pictures to benchmarks/results/NAME, which the README shows and which is what the numbers
can be checked against.
"""

import argparse
import datetime
import shutil
from pathlib import Path

from markers import ROOT, fill

from deploy_prune.report.page import result_markdown
from deploy_prune.report.plots import PLOTS
from deploy_prune.report.result import read_result


def write_section(run: Path, name: str, day: str) -> str:
    """The result as the README shows it, from the copies in benchmarks/results/``name``."""
    result = read_result(run / "report.json")
    conditions = result.conditions
    where = f"{conditions['processor']}, {conditions['threads']} thread(s), {conditions['engine']} "
    where += f"{conditions['engine_version']}, {conditions['precision']}, input {conditions['inputs']}"
    folder = f"benchmarks/results/{name}"
    pictures = [f"![{title}]({folder}/{file})" for file, (title, _) in PLOTS.items() if file != "widths.png"]
    source = f"Measured on {day} on {where}. From [{folder}/report.json]({folder}/report.json)."
    return "\n\n".join([result_markdown(result), source, *pictures])


def main() -> None:
    """Copy the run's report and write the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the run's folder")
    arguments = parser.parse_args()
    name = arguments.run.resolve().name
    kept = ROOT / "benchmarks" / "results" / name
    kept.mkdir(parents=True, exist_ok=True)
    for file in ("report.json", *PLOTS):
        shutil.copy(arguments.run / "report" / file, kept)
    day = datetime.date.fromtimestamp((arguments.run / "report" / "report.json").stat().st_mtime).isoformat()
    fill("README.md", "result", "readme_table.py", write_section(kept, name, day))


if __name__ == "__main__":
    main()
