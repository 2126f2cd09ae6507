"""The command line: arguments become a recipe or one call. Heavy imports wait until a command needs them."""

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import deploy_prune
from deploy_prune.cli.tables import tables_app
from deploy_prune.errors import DeployPruneError, InputError

TRACEBACK_VARIABLE = "DEPLOY_PRUNE_TRACEBACK"
_BENCH_FILES = {"json": "json", "md": "markdown", "csv": "csv"}

app = typer.Typer(
    help="Make a neural network meet a latency budget on real hardware by physically removing channels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Write the embedded data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")
profiles_app = typer.Typer(help="Hardware profiles: which there are, and which can run here.")
app.add_typer(profiles_app, name="profiles")
app.add_typer(tables_app, name="tables")


def main() -> None:
    """Run the command line; the user's mistakes end as ``error: …`` on stderr with exit code 2."""
    # torch's threads spin while they wait for each other, which on a machine with other work costs more than it saves:
    # an epoch of YOLOv8n took 369 s beside one busy process and 98 s with this. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        sys.exit(app(standalone_mode=False))
    except DeployPruneError as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        _print_error(str(error))
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        # What typer raises for wrong arguments; the class itself moved between typer's versions.
        if not hasattr(error, "format_message"):
            raise
        _print_error(error.format_message())
    sys.exit(2)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    traceback: Annotated[
        bool,
        typer.Option("--traceback", help=f"Show the traceback of an error; also {TRACEBACK_VARIABLE}=1."),
    ] = False,
) -> None:
    """Make a neural network meet a latency budget on real hardware by physically removing channels."""
    if traceback:
        os.environ[TRACEBACK_VARIABLE] = "1"
    if version:
        typer.echo(f"deploy-prune {deploy_prune.__version__}")
        raise typer.Exit


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Changes, such as train.epochs=3.")] = None,
    speedup: Annotated[float | None, typer.Option(help="Budget: dense latency divided by this.")] = None,
    latency_ms: Annotated[float | None, typer.Option(help="Budget: milliseconds per inference.")] = None,
    profile: Annotated[str | None, typer.Option(help="Hardware profile, in place of the recipe's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; by default runs/NAME.")] = None,
    alternatives: Annotated[
        bool, typer.Option("--alternatives", help="Also measure lower resolutions, smaller networks and INT8.")
    ] = False,
) -> None:
    """Train, prune to the budget, finetune, export, measure and report.

    Interrupt it at will: the same command continues.
    """
    from deploy_prune.pipeline.recipe import parse_overrides, read_recipe
    from deploy_prune.pipeline.settings import RunSettings

    changes = parse_overrides(overrides or [])
    budget = {"speedup": speedup, "latency_ms": latency_ms}
    if any(value is not None for value in budget.values()):
        changes |= {f"budget.{name}": value for name, value in budget.items()}  # further limits stay
    if profile is not None:
        changes["profile"] = profile
    if alternatives:
        changes["alternatives"] = True
    settings = RunSettings.of(read_recipe(recipe, changes))

    from deploy_prune.pipeline.run import run_recipe  # only now: mistakes need not wait for torch
    from deploy_prune.report.table import result_table, summary_lines

    folder, console = out or Path("runs") / settings.recipe.name, Console()
    with _continued_by_hand():
        result = run_recipe(settings, folder, console)
    console.print(result_table(result))
    for line in (*summary_lines(result), f"Report, pictures and report.json: {folder / 'report'}"):
        console.print(line, highlight=False, soft_wrap=True)
    if not result.all_kept:
        raise typer.Exit(1)


@app.command()
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
        _make_folder(out)
        files += [(out / f"bench.{suffix}", f"to_{kind}") for suffix, kind in _BENCH_FILES.items()]
    console, settings = Console(), [load_profile(name) for name in profile or [DEFAULT_PROFILE]]
    with console.status(f"loading {len(models)} models"):
        assignment = assign_models(models, settings)
    result = BenchResult(())
    with console.status("") as status:
        for found in bench_models(assignment, status.update, null_test=null_test):
            result = BenchResult((*result.profiles, found))
            for path, form in files:
                if path is not None:
                    _write_text(path, getattr(result, form)())
    console.print(result.to_table())


@profiles_app.callback(invoke_without_command=True)
def profiles(
    context: typer.Context,
    file: Annotated[list[Path] | None, typer.Option(help="Show this profile of your own instead.")] = None,
) -> None:
    """List the hardware profiles that come with the package, and what keeps each from running on this machine."""
    if context.invoked_subcommand is not None:
        return
    from deploy_prune.hardware.profile import list_profiles
    from deploy_prune.pipeline.profiles import describe_profiles
    from deploy_prune.report.profiles import profiles_table

    Console().print(profiles_table(describe_profiles([str(path) for path in file or ()] or list_profiles())))


@profiles_app.command()
def detect(
    out: Annotated[Path | None, typer.Option(help="The YAML file to write; by default it is printed.")] = None,
) -> None:
    """Write a profile for this machine: its processor, instruction sets, cores, clocks and installed engines."""
    from deploy_prune.hardware.detect import detect_profile

    if out is None:
        typer.echo(detect_profile(), nl=False)
    else:
        _write_text(out, detect_profile())


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="A YOLO .pt or .yaml, torchvision:NAME, timm:NAME, or module:function.")],
    image_size: Annotated[
        int | None, typer.Option(help="Side of the example image in pixels; by default what suits the model.", min=1)
    ] = None,
    task: Annotated[str, typer.Option(help="Of a YOLO .yaml: detect or segment.")] = "detect",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    graph: Annotated[
        Path | None, typer.Option(help="Also draw the groups: a .mmd (Mermaid) or .dot (Graphviz) file.")
    ] = None,
) -> None:
    """Show what can be removed from a model, what cannot, and why."""
    from deploy_prune.report.picture import drawer

    draw = drawer(graph) if graph else None  # before the analysis: a wrong suffix need not wait for it
    from deploy_prune.pipeline.inspection import inspect_model

    found = inspect_model(model, image_size=image_size, task=task)
    if graph and draw:
        _write_text(graph, draw(found))
    if json:
        typer.echo(found.to_json(), nl=False)
        return
    console = Console()
    for table in found.to_tables():
        console.print(table)
    for line in found.summary_lines():
        console.print(line, highlight=False, soft_wrap=True)


@data_app.command()
def digits(
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    task: Annotated[str, typer.Option(help="detect, segment, classify, semantic or digits.")] = "detect",
    train: Annotated[int, typer.Option(help="Training images.")] = 800,
    val: Annotated[int, typer.Option(help="Validation images.")] = 200,
    image_size: Annotated[int, typer.Option(help="Side of the square images in pixels.")] = 160,
    seed: Annotated[int, typer.Option(help="What the images are drawn from.")] = 0,
) -> None:
    """Write scenes of handwritten digits over photographs, in the format of a task."""
    from deploy_prune.datasets.write import write_digits

    typer.echo(write_digits(task, out, train=train, val=val, image_size=image_size, seed=seed))


@contextlib.contextmanager
def _continued_by_hand() -> Iterator[None]:
    """On Ctrl-C say how to go on; what was done stays."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"interrupted; continue with: deploy-prune {shlex.join(sys.argv[1:])}", err=True)
        raise typer.Exit(130) from None


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path}: {error.strerror}; choose another") from error


def _write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name first, so that it appears whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another file") from error


def _print_error(message: str) -> None:
    for line in message.splitlines():
        typer.echo(f"error: {line}", err=True)
