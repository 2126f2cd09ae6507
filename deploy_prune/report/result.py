"""What a run found: the one value that report.json holds and every table and plot is drawn from."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Final, Literal

import pydantic

from deploy_prune.errors import InputError
from deploy_prune.report.advice import Advice
from deploy_prune.report.alternatives import Alternative
from deploy_prune.report.explanation import Account, Explanation
from deploy_prune.report.exports import ExportedFile

SCHEMA: Final = 1  # raised whenever a key of report.json changes its name or meaning


@dataclasses.dataclass(frozen=True)
class ProfileName:
    """The hardware profile that was measured under, and the machine it was measured on."""

    name: str
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class BudgetOutcome:
    """The latency allowed, and whether the pruned model keeps it.

    ``speedup`` is what was asked for when the budget was given as one; ``latency_ms`` is then the dense
    model's median divided by it, and ``share`` is ``speedup`` over the paired comparison's, in which drift of
    the machine cancels. Otherwise ``share`` is the pruned model's median over ``latency_ms``.
    """

    latency_ms: float
    speedup: float | None
    share: float
    met: bool


@dataclasses.dataclass(frozen=True)
class LatencySummary:
    """Milliseconds per inference, of ``n`` raw samples."""

    median: float
    p90: float
    p99: float
    iqr: float
    n: int


@dataclasses.dataclass(frozen=True)
class MetricValue:
    """The task's score; larger is better."""

    name: str
    value: float


@dataclasses.dataclass(frozen=True)
class Subject:
    """One of the two models: dense or pruned. Latency, size and metric are those of its ONNX file."""

    latency_ms: LatencySummary
    macs: int
    params: int
    size_bytes: int
    metric: MetricValue


@dataclasses.dataclass(frozen=True)
class Speedup:
    """Dense latency divided by pruned latency, from a paired comparison, with its 95 % interval."""

    value: float
    low: float
    high: float
    verdict: str


@dataclasses.dataclass(frozen=True)
class Round:
    """One plan of the closed loop: what the latency model said, what the device said, and what was allowed.

    All are at the speed that the device had during the search; the final comparison is made afresh. ``loss`` is what
    the plan was priced at; no widths of this round's programme cost less than ``loss_bound`` (None: not known).
    ``predicted_std_ms`` is the prediction's own doubt, ``inside`` whether the measured value lies in its 95 % interval;
    ``chosen`` marks the plan that was taken.
    """

    predicted_ms: float
    measured_ms: float
    budget_ms: float
    predicted_std_ms: float
    inside: bool
    loss: float
    loss_bound: float | None
    chosen: bool


@dataclasses.dataclass(frozen=True)
class LimitOutcome:
    """A limit beside the first latency budget, with what the pruned model takes of it; both in ``unit``.

    Latencies under further profiles are measured, sizes are those of the search's tables.
    """

    name: str
    amount: float
    allowed: float
    unit: str

    @property
    def kept(self) -> bool:
        """Whether the model takes at most what is allowed, to the tables' 1e-6."""
        return self.amount <= self.allowed * (1 + 1e-6)


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A file that the run made; ``path`` is relative to the run's folder."""

    kind: str
    path: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class FrozenChannels:
    """Channels that could not be removed, and why."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Width:
    """How many of a group's units were kept."""

    name: str
    dense: int
    kept: int


@dataclasses.dataclass(frozen=True)
class LayerTime:
    """Milliseconds that the runtime's own profile gives a layer's nodes, before and after."""

    name: str
    dense_ms: float
    pruned_ms: float


@dataclasses.dataclass(frozen=True)
class MetricStep:
    """The metric after a stage, of the PyTorch module or of the ONNX file (``form``)."""

    stage: str
    form: Literal["pytorch", "onnx"]
    name: str
    value: float


@dataclasses.dataclass(frozen=True)
class RecoveryStep:
    """An attempt to win back accuracy without training: the loss on held-out training images before and after.

    ``kept`` says whether the change was made; ``layers_fitted`` of ``layers_tried`` layers were changed by it, 0 of 0
    where it is no matter of layers.
    """

    name: str
    before: float
    after: float
    kept: bool
    layers_fitted: int
    layers_tried: int


@dataclasses.dataclass(frozen=True)
class ParityCheck:
    """Difference between the outputs of the pruned PyTorch module and its ONNX file on real images."""

    max_abs: float
    mean_abs: float
    images: int


@dataclasses.dataclass(frozen=True)
class Result:
    """Everything a run found. ``mac_reduction`` is dense MACs / pruned MACs; it is no speed-up.

    ``speed_efficiency`` is ``speedup.value / mac_reduction``: the share of the saved arithmetic that became
    saved time. ``metric_loss`` is the dense ONNX file's metric minus the pruned one's. ``disturbances`` says
    what else the machine did during the final comparison. ``explanation``, ``account`` and ``advice`` say why the
    model is as fast as it is, ``alternatives`` what else was measured at this budget, where that was asked for,
    ``recovery`` what was tried between pruning and finetuning, ``exports`` are the files in further formats and
    precisions, where the recipe asks for some.
    """

    schema: Literal[1]
    model: str
    task: str
    profile: ProfileName
    conditions: dict[str, Any]
    disturbances: tuple[str, ...]
    budget: BudgetOutcome
    dense: Subject
    pruned: Subject
    speedup: Speedup
    mac_reduction: float
    speed_efficiency: float
    metric_loss: float
    rounds: tuple[Round, ...]
    artifacts: tuple[Artifact, ...]
    frozen: tuple[FrozenChannels, ...]
    widths: tuple[Width, ...]
    layers: tuple[LayerTime, ...]
    metric_steps: tuple[MetricStep, ...]
    parity: ParityCheck
    limits: tuple[LimitOutcome, ...]
    explanation: Explanation
    account: Account
    advice: tuple[Advice, ...]
    alternatives: tuple[Alternative, ...]
    recovery: tuple[RecoveryStep, ...] = ()
    exports: tuple[ExportedFile, ...] = ()

    @property
    def all_kept(self) -> bool:
        """Whether the pruned model keeps its latency budget and all further limits."""
        return self.budget.met and all(limit.kept for limit in self.limits)

    def to_json(self) -> str:
        """The text of report.json."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def read_result(path: Path) -> Result:
    """Read a report.json.

    Raises:
        InputError: the file is missing, is not JSON, or is not of this schema.
    """
    try:
        return pydantic.TypeAdapter(Result).validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"report {path} cannot be read: {error.strerror}") from None
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(
            f"{path} is not a report of schema {SCHEMA}: {where}: {first['msg']}; make it again with the run"
        ) from None
