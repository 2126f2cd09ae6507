"""What an artifact's ``manifest.json`` says, validated as it is read."""

from pathlib import Path
from typing import Any, Final, Literal

import pydantic

from deploy_prune.artifact.usage import FileName, Part, Postprocessing, Preprocessing, Sample
from deploy_prune.errors import InputError
from deploy_prune.mistakes import describe_mistakes

SCHEMA: Final = 1  # raised whenever a key changes its name or meaning
MANIFEST = "manifest.json"


class TensorInfo(Part):
    """An input or output of a model; the first axis is the batch, and an axis of any length has a name."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"


class ModelFile(Part):
    """A file that an engine runs.

    Attributes:
        file: where it lies.
        beside: further files that it needs there, such as its weights.
        engine: what runs it: ``onnxruntime``, ``openvino``, or one that no code here runs.
        precision: of its arithmetic: ``fp32``, ``fp16``, ``int8``.
        inputs: what it takes.
        outputs: what it gives.
        expected: the ``.npz`` with its outputs on the samples, see ``inference.samples.take_spots``; None: it was not
            run when the artifact was written.
        tolerance: by which they may be off elsewhere, as a share of each channel's size.
        score: the task's metric on the samples; None where it has no labels or no decoder.
    """

    file: FileName
    beside: tuple[FileName, ...] = ()
    engine: str
    precision: str
    inputs: tuple[TensorInfo, ...] = pydantic.Field(min_length=1)
    outputs: tuple[TensorInfo, ...] = pydantic.Field(min_length=1)
    expected: FileName | None
    tolerance: float = pydantic.Field(gt=0)
    score: float | None = None


class Latency(Part):
    """Milliseconds per inference, of ``n`` raw samples; what is None was not kept."""

    median: float
    p90: float | None = None
    p99: float | None = None
    iqr: float | None = None
    n: int | None = None


class Interval(Part):
    """A speed-up over the model ``over`` ("dense": the dense network), with its 95 % interval."""

    over: str
    value: float
    low: float
    high: float
    verdict: str


class Score(Part):
    """The task's metric on all validation data."""

    name: str
    value: float


class Measured(Part):
    """A row of the measured table: the dense network, whose file is not part of the artifact, or a model of it."""

    model: str  # "dense", or the model's file
    engine: str
    precision: str
    latency_ms: Latency | None = None
    speedup: Interval | None = None
    metric: Score | None = None
    macs: int
    params: int
    size_bytes: int


class Budget(Part):
    """The latency that was allowed, the speed-up where one was asked for, and whether it is kept."""

    latency_ms: float
    speedup: float | None
    met: bool


class Limit(Part):
    """A limit beside the latency, with what the network takes of it."""

    name: str
    amount: float
    allowed: float
    unit: str


class Manifest(Part):
    """Everything that an integrator needs to know, as data.

    Attributes:
        schema_version: of this file.
        task: what is done, in one word.
        network: the dense network's name.
        models: the files that run, the recommended one first.
        plan: what was removed; a JSON file.
        preprocessing: from a picture to the input.
        postprocessing: from the outputs to an answer.
        classes: names in the order of the outputs.
        metric: name of ``models[].score``.
        samples: pictures of the validation data.
        budget: what was asked for.
        limits: what else was asked for.
        measured: the table: the dense network and the models.
        profile: hardware profile under which it was measured.
        machine: on which it was measured.
        conditions: of the measurement.
        disturbances: what else the machine did meanwhile.
        versions: of the packages that made it.
        notes: what a user has to know before using it.
        files: SHA-256 of every other file of the folder.
    """

    schema_version: Literal[1]
    task: str
    network: str
    models: tuple[ModelFile, ...] = pydantic.Field(min_length=1)
    plan: FileName
    preprocessing: Preprocessing
    postprocessing: Postprocessing
    classes: tuple[str, ...]
    metric: str | None
    samples: tuple[Sample, ...]
    budget: Budget
    limits: tuple[Limit, ...]
    measured: tuple[Measured, ...]
    profile: str
    machine: str
    conditions: dict[str, Any]
    disturbances: tuple[str, ...]
    versions: dict[str, str]
    notes: tuple[str, ...]
    files: dict[FileName, str]

    @property
    def named_files(self) -> frozenset[str]:
        """The files that the manifest speaks of."""
        models = {name for model in self.models for name in (model.file, *model.beside)}
        models |= {model.expected for model in self.models if model.expected is not None}
        maps = {one.label.file for one in self.samples if one.label is not None and one.label.file is not None}
        return frozenset({self.plan, *models, *maps, *(one.file for one in self.samples)})

    def to_plain(self) -> dict[str, Any]:
        """What ``json.loads`` gives of the file."""
        plain: dict[str, Any] = self.model_dump(mode="json")
        return plain


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an artifact.

    Raises:
        InputError: there is none, or it is not one of this schema; one line for each mistake.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; expected the artifact folder of a run") from None
    try:
        _require_schema(path, content)
        manifest = Manifest.model_validate_json(content)
    except pydantic.ValidationError as error:
        lines = [f"{path}: {mistake}" for mistake in describe_mistakes(error, Manifest)]
        raise InputError("\n".join(lines)) from None
    if unlisted := sorted(manifest.named_files - manifest.files.keys()):
        raise InputError(f"{path} has no checksum of {', '.join(unlisted)}; take the folder from the run again")
    return manifest


def _require_schema(path: Path, content: bytes) -> None:
    """Say it in one line if the file is of another version, whose every key might be unknown."""
    try:
        plain = pydantic.TypeAdapter(dict[str, Any]).validate_json(content)
    except pydantic.ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise InputError(f"{path} is no manifest ({reason}); take the folder from the run again") from None
    if (got := plain.get("schema_version")) != SCHEMA:
        raise InputError(
            f"{path} has schema_version {got}, expected {SCHEMA}; use the version of deploy_prune that wrote it"
        )
