"""A run of small real stages (files, sums, a slow one with a work folder), started as a process of its own.

Usage: python tiny_run.py FOLDER FACTOR [kill STAGE before|inside|after]
"""

import os
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from deploy_prune.pipeline import runner, store
from deploy_prune.pipeline.runner import Stage, StageContext

KILL = tuple(sys.argv[4:6]) if len(sys.argv) > 4 else ("", "")


def kill_here(stage, moment):
    if (stage, moment) == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    if (stage, "wait") == KILL and moment == "inside":
        print("waiting", flush=True)
        time.sleep(60)


def write_numbers(context: StageContext) -> str:
    (context.out / "numbers.txt").write_text("1 2 3")
    kill_here("numbers", "inside")
    return "3 numbers"


def count_slowly(context: StageContext) -> str:
    """Ten steps; each is kept in the work folder, and `log.txt` beside the run tells which were done."""
    steps = context.work / "steps.txt"
    for step in range(len(steps.read_text()) if steps.exists() else 0, 10):
        with steps.open("a") as file:
            file.write("x")
        with (context.store.folder.parent / "log.txt").open("a") as log:
            log.write(f"{step} ")
        if step == 5:
            kill_here("count", "inside")
    (context.out / "count.txt").write_text(steps.read_text())
    return "10 steps"


def write_sum(context: StageContext) -> str:
    numbers = (context.output("numbers") / "numbers.txt").read_text().split()
    count = len((context.output("count") / "count.txt").read_text())
    total = int(sys.argv[2]) * (sum(map(int, numbers)) + count)
    (context.out / "sum.txt").write_text(str(total))
    kill_here("sum", "inside")
    return f"sum {total}"


STAGES = (
    Stage("numbers", write_numbers),
    Stage("count", count_slowly, needs=("numbers",)),
    Stage("sum", write_sum, reads=("factor",), needs=("numbers", "count")),
)


class KilledStore(store.RunStore):
    """Dies before or after the commit of the stage named on the command line."""

    def commit(self, draft, record):
        kill_here(record.stage, "before")
        super().commit(draft, record)
        kill_here(record.stage, "after")


if __name__ == "__main__":
    run = KilledStore(Path(sys.argv[1]))
    with run.locked():
        runner.run_stages(STAGES, {"factor": int(sys.argv[2])}, run, Console())
