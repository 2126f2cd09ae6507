"""The README of an artifact, written from its manifest for whoever builds it into a product."""

from deploy_prune.artifact.inference.engine import ENGINES
from deploy_prune.artifact.manifest import Manifest, Measured, ModelFile
from deploy_prune.artifact.usage import Preprocessing

_TASKS = {
    "classify": "tells which of its classes a picture shows",
    "detect": "finds objects and their boxes",
    "semantic": "tells the class of every pixel",
    "segment": "finds objects, their boxes and their outlines",
    "pose": "finds objects and their keypoints",
    "obb": "finds objects and their turned boxes",
}
_INPUTS = {
    "crop": "The shorter side is brought to {size} pixels (Pillow's bilinear filter), and the middle square is taken.",
    "stretch": "Both sides are brought to {size} pixels (Pillow's bilinear filter), whatever the proportions.",
    "letterbox": "The longer side is brought to {size} pixels (bilinear between pixels, no averaging), the picture put "
    "in the middle of a square, and the rest filled with grey 114.",
    "array": "It is a NumPy file (`.npy`), float32 of shape {shape}; nothing is done to it.",
}
_YOLO = (
    "x and y of the centre, width and height in pixels of the input, a score from 0 to 1 per class{more}. Nothing is "
    "suppressed inside."
)
_OUTPUTS = {
    "logits": "Logits of the classes, (1, classes). Softmax gives shares; the largest is the answer.",
    "probabilities": "Shares of the classes, (1, classes); the largest is the answer.",
    "class_map": "Logits per pixel, (1, classes, height, width); a pixel's class is that of its largest.",
    "yolo_boxes": "(1, 4 + classes, N): " + _YOLO.format(more=""),
    "yolo_masks": "(1, 4 + classes + c, N): "
    + _YOLO.format(more=", then the box's shares of c prototypes")
    + " The prototypes are the second output, (1, c, height, width): where their mix is above zero, within the box, "
    "the object is.",
    "yolo_keypoints": "(1, 4 + classes + points, N): "
    + _YOLO.format(
        more=", then x and y of each point in pixels of the input and, if it has three values, its "
        "chance of being visible"
    ),
    "yolo_turned": "(1, 4 + classes + 1, N): "
    + _YOLO.format(more=", then the angle in radians by which the box is turned about its centre"),
    "boxes": "Corners of boxes in pixels of the input, (1, N, 4) or one per class (1, N, classes, 4), and scores from "
    "0 to 1, (1, N, classes); the last suppression is not inside.",
    "boxes_with_masks": "Corners of boxes in pixels of the input, (1, N, 4), scores from 0 to 1, (1, N, classes), and "
    "for each box the chances (1, N, 28, 28) over it that a pixel is the object's.",
    "raw": "**No decoding is written for these outputs yet**: `infer.py` prints their shapes and ranges.",
}
_CLASSES = "`class`, `score` and, in `top`, the five most probable classes"
_OBJECTS = "`objects`, best first, each with `class`, `score` and "
_BOX = "`box`: x0, y0, x1, y1 in pixels of the picture"
_ANSWERS = {
    "logits": _CLASSES,
    "probabilities": _CLASSES,
    "class_map": "`shares`: of the picture, by class; `--masks FOLDER` also writes a PNG of class numbers",
    "yolo_boxes": _OBJECTS + _BOX,
    "yolo_masks": _OBJECTS + _BOX + ", `mask`: COCO's run lengths, down the columns",
    "yolo_keypoints": _OBJECTS + _BOX + ", `keypoints` by name",
    "yolo_turned": _OBJECTS + "`corners`: four of x, y in pixels of the picture",
    "boxes": _OBJECTS + _BOX,
    "boxes_with_masks": _OBJECTS + _BOX + ", `mask`: COCO's run lengths, down the columns",
    "raw": "`outputs` with shape, smallest, largest and mean value",
}


def write_readme(manifest: Manifest) -> str:
    """The text."""
    sections = [_head(manifest), _try_it(manifest), _models(manifest), _input(manifest), _output(manifest)]
    sections += [_measured(manifest), _files()]
    return "\n\n".join(sections) + "\n"


def _head(manifest: Manifest) -> str:
    does = _TASKS.get(manifest.task, f"is for the task `{manifest.task}`")
    notes = "".join(f"\n- {note}" for note in manifest.notes)
    return f"# {manifest.network}, pruned\n\nA network that {does}. `manifest.json` has all of this as data." + (
        f"\n\n**Before you use it:**\n{notes}" if notes else ""
    )


def _try_it(manifest: Manifest) -> str:
    given = "INPUT.npy" if manifest.preprocessing.kind == "array" else "PICTURE"
    engines = " ".join(dict.fromkeys(model.engine for model in manifest.models if model.engine in ENGINES))
    return f"""## Try it

```bash
pip install {engines} numpy pillow
python infer.py --check         # are the outputs on samples/ what they were? exit code 0: yes
python infer.py {given}...      # one line of JSON each
sha256sum --check manifest.json.sha256
```

Python 3.8 or newer. `infer.py` and `inference/` are plain code to read and to take over."""


def _models(manifest: Manifest) -> str:
    head = f"| file | engine | precision | inputs and outputs | {manifest.metric or 'score'} on the samples |"
    rows = []
    for one in manifest.models:
        files = ", ".join(f"`{name}`" for name in (one.file, *one.beside))
        rows.append(f"| {files} | {one.engine} | {one.precision} | {_tensors(one)} | {_score(one)} |")
    return "\n".join(["## Models", "", head, "| --- | --- | --- | --- | --- |", *rows])


def _tensors(model: ModelFile) -> str:
    shown = [f"`{one.name}` {one.dtype}{list(one.shape)}" for one in (*model.inputs, *model.outputs)]
    count = len(model.inputs)
    return ", ".join(shown[:count]) + " → " + ", ".join(shown[count:])


def _score(model: ModelFile) -> str:
    return "" if model.score is None else f"{model.score:.4f}"


def _input(manifest: Manifest) -> str:
    given: Preprocessing = manifest.preprocessing
    lines = [_INPUTS[given.kind].format(size=given.size, shape=list(given.shape or ()))]
    if given.kind != "array":
        lines.append("Then: RGB, channels first, float32, divided by 255. The network normalises by itself.")
        turned = "turned as its EXIF orientation says" if given.exif_orientation else "taken as it is stored"
        lines.append(f"A picture is {turned}.")
    return "## Input\n\n" + "\n".join(lines)


def _output(manifest: Manifest) -> str:
    asked = manifest.postprocessing
    lines = [_OUTPUTS[asked.kind]]
    if asked.selection is not None:
        chosen = asked.selection
        lines.append(
            f"`infer.py` keeps boxes above a score of {chosen.score:g}, at most {chosen.most} per picture; a box that "
            f"overlaps a better one of its class by an IoU above {chosen.overlap:g} goes."
        )
    lines.append(f"\nIts lines of JSON have `picture` and {_ANSWERS[asked.kind]}.")
    if asked.keypoints is not None:
        lines.append(f"The points: {', '.join(asked.keypoints.names)}.")
    if manifest.classes:
        lines.append(f"\n{len(manifest.classes)} classes, in this order: {', '.join(manifest.classes)}.")
    return "## Output\n\n" + "\n".join(lines)


def _measured(manifest: Manifest) -> str:
    budget = manifest.budget
    asked = f", {budget.speedup:.2f} times the dense network's speed" if budget.speedup else ""
    lines = [
        f"Under the profile `{manifest.profile}` on {manifest.conditions.get('processor') or manifest.machine}; all "
        "conditions are in the manifest. The metric is of all validation data.",
        "",
        "| model | engine, precision | median | p90 | p99 | speed-up (95 %) | metric | MACs | parameters | file |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(one) for one in manifest.measured),
        "",
        f"Budget: {budget.latency_ms:.3f} ms{asked}; {'met' if budget.met else '**not met**'}.",
    ]
    lines += [f"Limit of {one.name}: {one.amount:.4g} of {one.allowed:.4g} {one.unit}." for one in manifest.limits]
    return "## Measured\n\n" + "\n".join(lines)


def _row(one: Measured) -> str:
    latency, gain = one.latency_ms, one.speedup
    times = (None, None, None) if latency is None else (latency.median, latency.p90, latency.p99)
    cells = [one.model, f"{one.engine}, {one.precision}", *("" if ms is None else f"{ms:.3f} ms" for ms in times)]
    cells.append("" if gain is None else f"{gain.value:.2f} ({gain.low:.2f} to {gain.high:.2f}) over {gain.over}")
    cells.append("" if one.metric is None else f"{one.metric.name} {one.metric.value:.4f}")
    cells += [f"{one.macs / 1e6:.1f} M", f"{one.params / 1e6:.3f} M", f"{one.size_bytes / 2**20:.2f} MiB"]
    return f"| {' | '.join(cells)} |"


def _files() -> str:
    return """## Files

| file | what it is |
| --- | --- |
| `manifest.json` | everything said here as data, and the SHA-256 of every other file |
| `plan.json` | what was removed from the dense network |
| `samples/` | pictures of the validation data; their labels are in the manifest |
| `expected/` | what each model gave on them, at evenly spaced places of its outputs |
| `infer.py`, `inference/` | run the models and check themselves |"""
