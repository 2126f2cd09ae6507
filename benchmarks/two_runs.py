"""Two searches at once on one machine: each sees the other's load and says so, and the store stays whole.

python benchmarks/two_runs.py
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torchvision

import deploy_prune
from deploy_prune.store import MeasurementStore

MODELS = ("mobilenet_v2", "squeezenet1_1")
PIXELS = 128


def search(name: str, store: Path) -> None:
    """In a process of its own: a budget of 1.5 times, and what the comparison says of the machine."""
    model = torchvision.models.get_model(name, weights=None).eval()
    result = deploy_prune.prune_to_latency(model, torch.rand(1, 3, PIXELS, PIXELS), speedup=1.5, store=store)
    contention = result.comparison.candidate.conditions.contention
    print(json.dumps({"model": name, "speedup": result.comparison.speedup, "disturbances": contention.reasons}))


def main() -> int:
    """Start both, wait, and look at what they left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        search(options.child[0], Path(options.child[1]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = MeasurementStore(Path(folder) / "measurements.sqlite").path
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        commands = [[sys.executable, __file__, "--child", name, str(path)] for name in MODELS]
        running = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True, env=environment) for c in commands]
        replies = [json.loads(process.communicate()[0]) for process in running]
        for reply in replies:
            print(reply)
        with sqlite3.connect(path) as connection:
            (sound,) = connection.execute("PRAGMA integrity_check").fetchone()
            kinds = connection.execute("SELECT kind, count(*) FROM measurements GROUP BY kind").fetchall()
    print(f"store: integrity {sound}, {dict(kinds)}")
    return 0 if sound == "ok" and all(reply["disturbances"] for reply in replies) else 1


if __name__ == "__main__":
    sys.exit(main())
