"""From a recipe to a result: the stages in order, and what each depends on."""

from functools import partial
from pathlib import Path

from rich.console import Console

from deploy_prune.pipeline.artifact import write_artifact
from deploy_prune.pipeline.delivering import write_formats
from deploy_prune.pipeline.handover import REPORT
from deploy_prune.pipeline.measuring import write_alternatives, write_benchmark
from deploy_prune.pipeline.modelling import (
    write_baseline,
    write_data,
    write_dense,
    write_export,
    write_finetuned,
    write_pruned,
)
from deploy_prune.pipeline.outcome import write_report
from deploy_prune.pipeline.preparing import write_sparse, write_start
from deploy_prune.pipeline.recipe import write_recipe
from deploy_prune.pipeline.recovering import write_recovered
from deploy_prune.pipeline.runner import Stage, run_stages
from deploy_prune.pipeline.searching import write_plan, write_profile
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.pipeline.store import RunStore
from deploy_prune.report.result import Result, read_result

# stage: (function, facts it reads, earlier stages it needs)
_STAGES = {
    "data": (write_data, ("data",), ()),
    "train": (write_dense, ("model", "train"), ("data",)),
    "sparse": (write_sparse, ("sparse", "finetune"), ("data", "train")),
    "baseline": (write_baseline, ("device",), ("data", "train")),
    "profile": (write_profile, ("device", "others", "search"), ("data", "train", "baseline")),
    "prepare": (
        write_start,
        ("schedule", "device", "search", "budget", "recover", "finetune"),
        ("data", "train", "sparse", "baseline", "profile"),
    ),
    "search": (
        write_plan,
        ("device", "others", "search", "budget"),
        ("data", "train", "sparse", "baseline", "profile", "prepare"),
    ),
    "prune": (write_pruned, (), ("data", "train", "sparse", "prepare", "search")),
    "recover": (write_recovered, ("recover",), ("data", "train", "sparse", "prepare", "search", "prune")),
    "finetune": (write_finetuned, ("finetune",), ("data", "train", "recover")),
    "export": (write_export, ("device", "export"), ("data", "search", "finetune")),
    "benchmark": (write_benchmark, ("device", "others"), ("data", "train", "baseline", "finetune", "export")),
    "formats": (write_formats, ("device", "formats"), ("data", "finetune", "export")),
    "alternatives": (
        write_alternatives,
        ("model", "device", "budget", "alternatives"),
        ("data", "train", "baseline", "export", "benchmark"),
    ),
    "report": (
        write_report,
        ("model", "device", "others", "budget", "export"),
        (
            "sparse",
            "baseline",
            "prepare",
            "search",
            "prune",
            "recover",
            "finetune",
            "export",
            "benchmark",
            "formats",
            "alternatives",
        ),
    ),
    "artifact": (write_artifact, ("export", "artifact"), ("data", "search", "export", "formats", "report")),
}


def make_stages(settings: RunSettings) -> tuple[Stage, ...]:
    """The stages of a run, in order, without those that its recipe does not ask for."""
    left_out = settings.recipe.stages_left_out
    return tuple(
        Stage(name, partial(write, settings), reads, tuple(one for one in needs if one not in left_out))
        for name, (write, reads, needs) in _STAGES.items()
        if name not in left_out
    )


def run_recipe(settings: RunSettings, folder: Path, console: Console) -> Result:
    """Bring the run in ``folder`` up to date with the recipe and return what it found.

    Raises:
        InputError: the folder cannot be written or is in use, or what the recipe names cannot be used.
        UnreachableBudgetError: no widths are fast enough.
    """
    store = RunStore(folder)
    with store.locked():
        write_recipe(settings.recipe, store.folder / "recipe.yaml")
        run_stages(make_stages(settings), settings.facts(), store, console)
        return read_result(store.folder / REPORT)
