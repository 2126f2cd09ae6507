"""Where time goes, by a clock that the test sets."""

import pytest

from deploy_prune.pipeline import phases
from deploy_prune.pipeline.phases import PhaseClock
from deploy_prune.report.front import PhaseTime


def test_phases_add_up_also_when_a_block_fails(monkeypatch):
    now = iter([0, 2, 10, 11, 20, 25])
    monkeypatch.setattr(phases.time, "monotonic", lambda: next(now))
    clock = PhaseClock()
    with clock.phase("solving"):
        pass
    with pytest.raises(ValueError, match="stopped"), clock.phase("measuring"):
        raise ValueError("stopped")
    with clock.phase("solving"):
        pass
    assert clock.take() == (PhaseTime("solving", 7), PhaseTime("measuring", 1))
    assert clock.take() == ()
