"""Run stages in order, skip those whose inputs are unchanged, and say one line about each."""

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

import deploy_prune
from deploy_prune.pipeline.store import Draft, Record, RunStore, stage_key


@dataclasses.dataclass(frozen=True)
class StageContext:
    """What a stage gets besides its settings: the folders of earlier stages, and where to write its own."""

    store: RunStore
    draft: Draft
    progress: Progress

    @property
    def out(self) -> Path:
        """Where the output goes; it appears as a whole under the stage's name."""
        return self.draft.out

    @property
    def work(self) -> Path:
        """Where a long stage keeps what it needs to continue after a kill."""
        return self.draft.work

    def output(self, stage: str) -> Path:
        """The folder of an earlier stage."""
        return self.store.output(stage)

    def output_file(self, path: Path) -> Path:
        """A file of an earlier stage, named below the run's folder (``train/dense.pt``)."""
        return self.store.folder / path


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: the stage's word, and the name of its folder.
        write: fills ``context.out`` and returns the stage's main figure as one short line.
        reads: which facts about the run the output depends on.
        needs: which earlier stages' outputs it depends on.
    """

    name: str
    write: Callable[[StageContext], str]
    reads: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


def run_stages(
    stages: Sequence[Stage],
    facts: Mapping[str, object],
    store: RunStore,
    console: Console,
    only: Collection[str] | None = None,
) -> None:
    """Bring every stage's output up to date with the facts, in order.

    A stage whose facts and earlier stages are as they were when it was written is skipped. Otherwise its
    output and all that was made from it are removed and written anew.

    Args:
        stages: in an order in which each comes after those it needs.
        facts: named values that JSON can hold.
        store: the run's folder; the caller holds its lock.
        console: where the one line per stage goes, and the progress bars while it is a terminal.
        only: the stages to bring up to date; those that they need were brought so before. None: all.
    """
    keys = stage_keys(stages, facts)
    for stage in stages:
        if only is not None and stage.name not in only:
            continue
        key = keys[stage.name]
        record = store.find(stage.name, key)
        if record is not None:
            _print_line(console, stage.name, record.figure, "unchanged, skipped")
            continue
        for outdated in (*_stages_after(stage.name, stages), stage.name):
            store.discard(outdated)
        record = _run_stage(stage, key, store, console)
        _print_line(console, stage.name, record.figure, format_duration(record.duration_s))


def stage_keys(stages: Sequence[Stage], facts: Mapping[str, object]) -> dict[str, str]:
    """The key of everything that each stage depends on, by the stage's name."""
    keys: dict[str, str] = {}
    for stage in stages:
        keys[stage.name] = stage_key({
            "stage": stage.name,
            "version": deploy_prune.__version__,
            "facts": {name: facts[name] for name in stage.reads},
            "stages": {name: keys[name] for name in stage.needs},
        })  # fmt: skip
    return keys


def format_duration(seconds: float) -> str:
    """A duration for reading: ``3.2 s``, ``4 min 05 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _print_line(console: Console, stage: str, figure: str, note: str) -> None:
    console.print(f"[bold]{stage:<10}[/] {escape(figure)} [dim]({note})[/]", soft_wrap=True, highlight=False)


def _run_stage(stage: Stage, key: str, store: RunStore, console: Console) -> Record:
    started_s = time.monotonic()
    draft = store.open_draft(stage.name, key)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    live = console.is_terminal  # a log file gets the one line when the stage is done
    with Progress(*columns, console=console, transient=True, disable=not live) as progress:
        progress.add_task(f"[bold]{stage.name}[/]", total=None)
        figure = stage.write(StageContext(store, draft, progress))
    record = Record(stage.name, key, figure, time.monotonic() - started_s)
    store.commit(draft, record)
    return record


def _stages_after(name: str, stages: Sequence[Stage]) -> list[str]:
    """The stages that depend on ``name``, through others too, last first, so that a kill leaves no orphan."""
    outdated = {name}
    for stage in stages:
        if outdated & set(stage.needs):
            outdated.add(stage.name)
    return [stage.name for stage in reversed(stages) if stage.name in outdated - {name}]
