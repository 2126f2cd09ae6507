"""A front: one model pruned to several latency budgets, what each costs, and where the time went."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Final, Literal

import pydantic

from deploy_prune.errors import InputError
from deploy_prune.report.advice import Advice
from deploy_prune.report.explanation import Account, Explanation
from deploy_prune.report.result import LatencySummary, MetricValue, ProfileName, Round, Speedup, Width

SCHEMA: Final = 1  # raised whenever a key of front.json changes its name or meaning


@dataclasses.dataclass(frozen=True)
class PhaseTime:
    """Seconds of wall time that a phase took."""

    phase: str
    duration_s: float


@dataclasses.dataclass(frozen=True)
class DensePoint:
    """The model as it was given; ``size_bytes`` is its ONNX file's."""

    latency_ms: LatencySummary
    macs: int
    params: int
    size_bytes: int
    metric: MetricValue | None = None


@dataclasses.dataclass(frozen=True)
class PointExplanation:
    """Why a point is as fast as it is, what no width can change, how well its latency was foreseen, and advice."""

    explanation: Explanation
    account: Account
    advice: tuple[Advice, ...]


@dataclasses.dataclass(frozen=True)
class PrunedPoint:
    """The model of one budget.

    ``latency_ms``, ``low_ms`` and ``high_ms`` are the dense model's median of the front divided by the paired speed-up
    and the ends of its 95 % interval: the speed at which the machine ran during the front's first measurement, so that
    points compare with each other. ``predicted_ms`` is what the latency model said of the plan at that speed.
    ``mac_reduction`` is dense MACs / pruned MACs; it is no speed-up. ``speed_efficiency`` is ``speedup.value /
    mac_reduction``. ``loss`` is as the front's ``loss_name`` says. ``samples`` are the pruned model's own runs.
    ``why`` is there where the layers of both models were profiled.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    predicted_ms: float
    speedup: Speedup
    samples: LatencySummary
    macs: int
    params: int
    size_bytes: int
    mac_reduction: float
    speed_efficiency: float
    loss: float
    rounds: tuple[Round, ...]
    widths: tuple[Width, ...]
    metric: MetricValue | None = None
    why: PointExplanation | None = None


@dataclasses.dataclass(frozen=True)
class FurtherDevice:
    """A device besides the front's own, on which each budget is kept too; ``dense_ms`` is the dense model's median."""

    profile: ProfileName
    conditions: dict[str, Any]
    dense_ms: float


@dataclasses.dataclass(frozen=True)
class FurtherLatency:
    """What a point's model takes under the profile of a further device; times as in :class:`PrunedPoint`."""

    profile: str
    budget_ms: float
    latency_ms: float
    low_ms: float
    high_ms: float
    predicted_ms: float
    speedup: Speedup

    @property
    def share(self) -> float:
        """Measured latency as a share of the budget."""
        return self.latency_ms / self.budget_ms

    @property
    def met(self) -> bool:
        """Whether the final measurement keeps the budget."""
        return self.share <= 1


@dataclasses.dataclass(frozen=True)
class FrontPoint:
    """One budget that was asked for.

    ``asked`` is ``2x`` or ``8ms``, ``budget_ms`` the latency that it allows. ``pruned`` is None where no widths are
    fast enough; ``reason`` then says why and ``fastest_ms`` which latency can be reached. ``spent`` is the time of this
    budget alone; ``folder`` holds its files, relative to the front's folder (empty: none were written). ``also`` are
    the further devices of the front, in their order; ``measured_at`` is when the final comparison ended (ISO 8601, UTC;
    empty: not known).
    """

    asked: str
    budget_ms: float
    pruned: PrunedPoint | None
    fastest_ms: float | None = None
    reason: str = ""
    spent: tuple[PhaseTime, ...] = ()
    folder: str = ""
    also: tuple[FurtherLatency, ...] = ()
    measured_at: str = ""

    @property
    def share(self) -> float | None:
        """Measured latency as a share of the budget; None where nothing is fast enough."""
        return None if self.pruned is None else self.pruned.latency_ms / self.budget_ms

    @property
    def met_here(self) -> bool:
        """Whether the final measurement keeps the budget on the front's own device."""
        return self.share is not None and self.share <= 1

    @property
    def met(self) -> bool:
        """Whether it does on every device."""
        return self.met_here and all(one.met for one in self.also)

    @property
    def seconds(self) -> float:
        """All that this budget took."""
        return sum(phase.duration_s for phase in self.spent)

    def to_json(self) -> str:
        """The text of a budget's own report.json."""
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self), "met": self.met}, indent=2) + "\n"


@dataclasses.dataclass(frozen=True)
class Front:
    """All budgets of one model on one device, the mildest first; with ``also``, of one plan for several devices.

    ``spent`` is what all budgets share: analysis, profiling, pricing. ``loss_name`` says what ``loss`` of a point is;
    where points have a ``metric`` that is what the front is drawn over.
    """

    schema: Literal[1]
    model: str
    profile: ProfileName
    conditions: dict[str, Any]
    loss_name: str
    dense: DensePoint
    points: tuple[FrontPoint, ...]
    spent: tuple[PhaseTime, ...] = ()
    also: tuple[FurtherDevice, ...] = ()

    @property
    def met(self) -> bool:
        """Whether every budget is kept."""
        return all(point.met for point in self.points)

    def to_json(self) -> str:
        """The text of front.json."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def read_front(path: Path) -> Front:
    """Read a front.json.

    Raises:
        InputError: the file is missing, is not JSON, or is not of this schema.
    """
    return _read(Front, path)


def read_point(path: Path) -> FrontPoint:
    """Read the report.json of one budget; raises as :func:`read_front` does."""
    return _read(FrontPoint, path)


def _read(kind: Any, path: Path) -> Any:
    try:
        return pydantic.TypeAdapter(kind).validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{path} is no front of schema {SCHEMA}: {where}: {first['msg']}; make it again") from None
