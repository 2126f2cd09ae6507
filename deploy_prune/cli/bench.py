"""``deploy-prune bench``: measure models."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy_prune.cli.files import make_folder, write_text

_FILES = {"json": "json", "md": "markdown", "csv": "csv"}


def bench(
    models: Annotated[list[Path], typer.Argument(help="Model files; under each profile the first is the baseline.")],
    profile: Annotated[
        list[str] | None,
        typer.Option(help="Hardware profile, a name or the path of a YAML file; may be given several times."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for bench.json, bench.md and bench.csv, written after each profile.")
    ] = None,
    null_test: Annotated[
        bool, typer.Option("--null-test", help="Compare each first model with itself too: the noise floor of verdicts.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Also write the result as JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the result as a Markdown table.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the result as CSV.")] = None,
) -> None:
    """Measure models on this machine; with several, each against the first of the same profile, by turns."""
    from deploy_prune.hardware.profile import DEFAULT_PROFILE, load_profile
    from deploy_prune.pipeline.bench import assign_models, bench_models
    from deploy_prune.report.bench import BenchResult

    files = [(json, "to_json"), (markdown, "to_markdown"), (csv, "to_csv")]
    if out is not None:
        make_folder(out)
        files += [(out / f"bench.{suffix}", f"to_{kind}") for suffix, kind in _FILES.items()]
    console, settings = Console(), [load_profile(name) for name in profile or [DEFAULT_PROFILE]]
    with console.status(f"loading {len(models)} models"):
        assignment = assign_models(models, settings)
    result = BenchResult(())
    with console.status("") as status:
        for found in bench_models(assignment, status.update, null_test=null_test):
            result = BenchResult((*result.profiles, found))
            for path, form in files:
                if path is not None:
                    write_text(path, getattr(result, form)())
    console.print(result.to_table())
