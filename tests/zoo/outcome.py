"""What judging one model gives, as data that saves to JSON."""

import dataclasses
import traceback
from pathlib import Path

OK, FAILED = "ok", "failed"


@dataclasses.dataclass
class Outcome:
    """One model's verdict; a field that was not reached keeps its default.

    Attributes:
        stage: where it failed: load, build, prune, eval, train, verify or share.
        error: one line with the type and the place of the error.
        notes: what is true of the model itself, such as a train mode that fails before pruning too.
        removed_share: parameters removed over parameters before.
        free_share: output channels that can be removed over those that do not reach the output.
        reasons: how many of the others stay, by reason and place, the most first.
        unknown: operators without a rule.
        eval_error, train_error: largest relative errors against the masked original.
        unseen: weights of which the oracle did not notice a wrong slice, where mistakes were asked for.
        judged: ``oracle``, or ``forward`` where the tool's result could not be compared with a masked original.
    """

    family: str
    name: str
    tool: str
    status: str = FAILED
    stage: str = ""
    error: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)
    parameters: int = 0
    removed_share: float | None = None
    groups: int = 0
    free_share: float | None = None
    reasons: dict[str, int] = dataclasses.field(default_factory=dict)
    unknown: dict[str, int] = dataclasses.field(default_factory=dict)
    eval_error: float | None = None
    train_error: float | None = None
    dtype: str = ""
    unseen: list[str] = dataclasses.field(default_factory=list)
    judged: str = "oracle"
    build_s: float | None = None
    prune_s: float | None = None
    verify_s: float | None = None
    wall_s: float = 0.0
    peak_bytes: int = 0

    @property
    def key(self):
        return f"{self.family}/{self.name}"

    def fail(self, stage, error):
        """Record a failure; an exception is told in one line with its place."""
        self.status, self.stage = FAILED, stage
        self.error = one_line(error) if isinstance(error, BaseException) else str(error)


def one_line(error):
    """``Type: first line (file:line)``, the place being the innermost one outside torch."""
    text = next((line for line in str(error).strip().splitlines() if line.strip()), "")
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "torch" not in Path(f.filename).parts and "importlib" not in f.filename] or frames
    place = f" ({'/'.join(Path(own[-1].filename).parts[-2:])}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {text[:400]}{place}"
