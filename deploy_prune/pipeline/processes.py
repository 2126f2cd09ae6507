"""Training in several processes, one per GPU where there are any.

``torchrun`` starts them on this very file. They leave their state in the stage's work folder, where the same training
in the run's own process finds it finished.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

from torch import nn

from deploy_prune.errors import DeployPruneError, InputError
from deploy_prune.pipeline.device import write_json
from deploy_prune.pipeline.handover import DIGITS
from deploy_prune.pipeline.recipe import read_recipe
from deploy_prune.pipeline.recipe_sections import FinetuneRecipe, TrainRecipe
from deploy_prune.pipeline.runner import StageContext
from deploy_prune.pipeline.task_choice import make_task
from deploy_prune.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class Job:
    """One training, by the files that its processes read; ``teacher`` is a file too."""

    recipe: str
    data: str
    model: str
    teacher: str | None
    epochs: int
    finetune: bool
    out: str

    def run(self, task: Task) -> nn.Module:
        """Train, or read what a training with the same settings has left."""
        model, out = task.load(Path(self.model)), Path(self.out)
        if not self.finetune:
            return task.train(model, out, epochs=self.epochs)
        teacher = task.load(Path(self.teacher)) if self.teacher else None
        return task.finetune(model, out, epochs=self.epochs, teacher=teacher)


def train_in_processes(
    task: Task, model: nn.Module, section: TrainRecipe, context: StageContext, teacher: Path | None = None
) -> nn.Module:
    """Return ``model`` trained by as many processes as the recipe's section says, each with its share of a batch.

    Raises:
        InputError: what a process refused, or that it ended without a word.
    """
    out, first = context.work, task.save(model, context.work / "first.pt")
    job = Job(
        recipe=str(context.store.folder / "recipe.yaml"),
        data=str(context.output_file(DIGITS)),
        model=str(first),
        teacher=str(teacher) if teacher else None,
        epochs=section.epochs,
        finetune=isinstance(section, FinetuneRecipe),
        out=str(out),
    )
    file, said = out / "job.json", out / "error.txt"
    write_json(file, dataclasses.asdict(job))
    said.unlink(missing_ok=True)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={section.processes}"]
    ended = subprocess.run([*launcher, "-m", __name__, str(file)], capture_output=True, text=True, check=False)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["nothing was printed"])[-1]
        raise InputError(said.read_text() if said.exists() else f"a training process ended unexpectedly: {last}")
    return job.run(task)


def main() -> None:
    """One of the processes."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    try:
        job.run(make_task(read_recipe(Path(job.recipe)), Path(job.data)))
    except DeployPruneError as error:
        (Path(job.out) / "error.txt").write_text(str(error))
        sys.exit(2)


if __name__ == "__main__":
    main()
