"""``deploy-prune export``: a network in several formats and precisions."""

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy_prune.cli.files import make_folder
from deploy_prune.cli.interruption import continued_by_hand


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="The folder of a run, a YOLO .pt or .yaml, torchvision/NAME, timm/NAME, or module:function."
        ),
    ],
    format: Annotated[str, typer.Option(help="With commas: onnx, openvino, pt2, ncnn.")] = "onnx",
    precision: Annotated[str, typer.Option(help="With commas: fp32 (always written), fp16, int8.")] = "fp32",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Of a YOLO .pt its data set's .yaml, by which files are judged and INT8 finds its ranges; else a "
            "folder of pictures, .npy or .npz for the ranges alone. A run has its own."
        ),
    ] = None,
    images: Annotated[int, typer.Option(help="Training images by which INT8 finds its ranges.", min=1)] = 16,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="ONNX: leave number and size of images open.")] = False,
    nms: Annotated[bool, typer.Option("--nms", help="ONNX of a YOLO detector: with its choice among boxes.")] = False,
    simplify: Annotated[bool, typer.Option(help="ONNX: fold constants.")] = True,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the input in pixels; by default what suits the model.", min=1)
    ] = None,
    task: Annotated[str, typer.Option(help="Of a YOLO .yaml: detect, segment, classify, pose or obb.")] = "detect",
    profile: Annotated[str | None, typer.Option(help="Hardware profile, a name or the path of a YAML file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the files; by default exported/MODEL.")] = None,
) -> None:
    """Write a network in several formats and precisions; each file is compared with it, judged and timed.

    Interrupt it at will: the same command continues.
    """
    from deploy_prune.hardware.profile import load_profile

    device = load_profile(profile) if profile is not None else None

    from deploy_prune.pipeline.delivering import export_named  # only now: mistakes need not wait for torch
    from deploy_prune.pipeline.export_request import ExportRequest
    from deploy_prune.report.exports import exports_table

    request = ExportRequest(_words(format), _words(precision), dynamic, nms, simplify)
    folder, console = out or Path("exported") / re.sub(r"[^\w.-]+", "_", Path(model).name), Console()
    make_folder(folder)
    with continued_by_hand():
        files = export_named(
            model, request, folder, device,
            data=data, images=images, image_size=image_size, task=task, console=console,
        )  # fmt: skip
    console.print(exports_table(files))
    console.print(f"Files, exports.json and exports.md: {folder}", highlight=False, soft_wrap=True)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
