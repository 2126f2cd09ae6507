"""``deploy-prune tables``: look into the file of measurements, carry it to another machine, take out what is old."""

import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy_prune.errors import InputError

tables_app = typer.Typer(help="The measurements that are kept: show, export, merge, prune.", no_args_is_help=True)

StoreOption = Annotated[
    Path | None, typer.Option(help="The file of measurements; by default $DEPLOY_PRUNE_STORE, else the user's.")
]
DeviceOption = Annotated[str | None, typer.Option(help="Only of this device: its fingerprint, or how it begins.")]
EngineOption = Annotated[str | None, typer.Option(help="Only of this engine, such as 'onnxruntime 1.31'.")]
ModelOption = Annotated[str | None, typer.Option(help="Only of models with this in their name.")]
ConditionsOption = Annotated[
    str | None, typer.Option(help="""Only under conditions with this in them, such as '"threads": 1'.""")
]


@tables_app.command()
def show(
    store: StoreOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    model: ModelOption = None,
    conditions: ConditionsOption = None,
    layers: Annotated[bool, typer.Option("--layers", help="The layers, with their time at each width.")] = False,
    layer: Annotated[str | None, typer.Option(help="Only layers with this in their description; --layers.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Show what was measured: devices, engines, conditions, models and dates, or layers with their times."""
    from deploy_prune.pipeline.tables import describe_sources, describe_widths
    from deploy_prune.report import tables as report
    from deploy_prune.store import MeasurementStore, Selection

    if json and csv:
        raise InputError("got --json and --csv; give one of them")
    selection = Selection(machine=device, engine=engine, model=model, conditions=conditions)
    opened = MeasurementStore(store, existing=True)
    entries: report.Entries
    kind: report.Kind
    if layers or layer is not None:
        widths = describe_widths(opened, selection, layer)
        entries, kind, printed = widths, report.WidthEntry, report.widths_tables(widths)
    else:
        sources = describe_sources(opened, selection)
        entries, kind, printed = sources, report.SourceEntry, report.sources_tables(sources)
    if json:
        typer.echo(report.to_json(entries), nl=False)
    elif csv:
        typer.echo(report.to_csv(entries, kind), nl=False)
    elif not entries:
        typer.echo(f"{opened.path} has no such measurements")
    else:
        Console().print(*printed)


@tables_app.command()
def export(
    file: Annotated[Path, typer.Argument(help="The file to write: .jsonl, or .sqlite.")],
    store: StoreOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    model: ModelOption = None,
    conditions: ConditionsOption = None,
) -> None:
    """Write measurements, all or a selection, into one file that `merge` takes in on another machine."""
    from deploy_prune.store import MeasurementStore, Selection
    from deploy_prune.store.transfer import export as export_to

    selection = Selection(machine=device, engine=engine, model=model, conditions=conditions)
    count = export_to(MeasurementStore(store, existing=True), file, selection)
    typer.echo(f"{file}: {count} measurements")


@tables_app.command()
def merge(
    files: Annotated[list[Path], typer.Argument(help="Exports, or files of measurements.")],
    store: StoreOption = None,
) -> None:
    """Take in the measurements of other files, all or none; where both have one, the newer stays."""
    from deploy_prune.store import MeasurementStore
    from deploy_prune.store.transfer import merge as merge_into

    opened = MeasurementStore(store)
    taken, known = merge_into(opened, files)
    typer.echo(f"{opened.path}: {taken} measurements taken, {known} already here as new or newer")


@tables_app.command()
def prune(
    store: StoreOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    model: ModelOption = None,
    older_than: Annotated[int | None, typer.Option(help="Only what was measured more days ago.", min=0)] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this it is only shown.")] = False,
) -> None:
    """Remove measurements, by age, device, engine version or model; first says which, and needs --yes to do it."""
    from deploy_prune.pipeline.tables import describe_sources
    from deploy_prune.report.tables import sources_tables
    from deploy_prune.store import MeasurementStore, Selection

    before = None
    if older_than is not None:
        moment = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=older_than)
        before = moment.isoformat(timespec="seconds")
    selection = Selection(machine=device, engine=engine, model=model, before=before)
    if selection.is_everything:
        raise InputError("say what to remove: --older-than, --device, --engine or --model")
    entries = describe_sources(MeasurementStore(store, existing=True), selection)
    if not entries:
        typer.echo("nothing to remove")
        return
    Console().print(*sources_tables(entries))
    if yes:
        typer.echo(f"{MeasurementStore(store).remove(selection)} measurements removed")
    else:
        typer.echo("nothing removed yet; the same with --yes removes these")
