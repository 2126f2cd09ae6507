"""Fill the README's result, between its markers, from a run's report.json; no number is typed by hand.

    python benchmarks/readme_table.py runs/yolov8n_digits

Copies report.json and the pictures to benchmarks/results/NAME, which the README shows and which is what the numbers
can be checked against.
"""

import argparse
import datetime
import shutil
from pathlib import Path

from deploy_prune.report.page import result_markdown
from deploy_prune.report.plots import PLOTS
from deploy_prune.report.result import read_result

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- result: begin, written by benchmarks/readme_table.py -->", "<!-- result: end -->"


def fill(readme: str, section: str) -> str:
    """The README with what stands between its markers replaced."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"README.md lacks the markers {BEGIN} and {END}")
    return f"{before}{begin}\n{section}\n{end}{after}"


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
    readme = ROOT / "README.md"
    readme.write_text(fill(readme.read_text(encoding="utf-8"), write_section(kept, name, day)), encoding="utf-8")


if __name__ == "__main__":
    main()
