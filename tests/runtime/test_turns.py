"""How many rounds, and when the ratio is known well enough."""

import pytest

from deploy_prune.errors import MeasurementError
from deploy_prune.runtime.turns import is_narrow, take_rounds


@pytest.mark.parametrize(
    ("ratios", "narrow"),
    [
        ((2.0,) * 4, False),  # too few to say
        ((2.0,) * 5, True),
        ((2.0, 2.005, 2.01, 2.015, 2.019), True),  # fewer than 6: the range, here 0.95 %
        ((2.0, 2.005, 2.01, 2.015, 2.021), False),
        ((1.0, *(2.0,) * 10, 3.0), True),  # outliers do not widen the interval of the median
    ],
)
def test_narrow_is_within_one_percent(ratios, narrow):
    assert is_narrow(ratios, 0.01) is narrow


@pytest.mark.parametrize("rounds", [1, 4])
def test_as_many_rounds_as_were_asked_for(make_model, brief, rounds):
    model = make_model(8, size=8)
    taken = take_rounds(model, model, brief, rounds)
    assert [len(ratios) for ratios in taken.pairs] == [rounds] * brief.measuring.pairs
    assert [t.stop_reason for t in taken.timings] == ["rounds", "rounds"]
    first, second = taken.timings
    assert first.n >= 4 * rounds and second.n >= 4 * rounds  # two turns of a run or more per round, in two pairs
    assert first.conditions == second.conditions


def test_without_a_number_of_rounds_it_says_why_it_ended(make_model, brief):
    taken = take_rounds(make_model(8, size=8), make_model(16, size=8), brief, None)
    assert len(taken.pairs) == brief.measuring.pairs and all(taken.pairs)
    assert taken.timings[0].stop_reason in {"interval", "pairs", "time limit"}


def test_a_worker_that_dies_between_turns_is_an_error(make_model, brief, tmp_path, monkeypatch):
    """A stand-in engine that loads any model and takes the process with it after some runs."""
    (tmp_path / "onnxruntime.py").write_text(DYING_ENGINE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MeasurementError, match=r"died during 'run' \(exit code 9\): out of memory"):
        take_rounds(make_model(), make_model(), brief, 3)


DYING_ENGINE = """
import os, sys, types
__version__ = "0"
class SessionOptions:
    def add_session_config_entry(self, key, value): pass
class InferenceSession:
    def __init__(self, *args, **kwargs): self.left = 30
    def get_providers(self): return ["CPUExecutionProvider"]
    def get_inputs(self): return [types.SimpleNamespace(name="x", type="tensor(float)", shape=[1, 2])]
    def run(self, outputs, feed):
        self.left -= 1
        if not self.left:
            sys.stderr.write("out of memory")
            os._exit(9)
def disable_telemetry_events(): pass
"""
