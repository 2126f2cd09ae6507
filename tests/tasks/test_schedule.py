import math

from deploy_prune.tasks.schedule import Schedule


def test_arguments_are_spelled_as_ultralytics_spells_them():
    arguments = Schedule(batch=8, distill=3.0).arguments()
    assert arguments["dis"] == 3.0
    assert arguments["nbs"] == arguments["batch"] == 8  # one step per batch
    assert "distill" not in arguments
    assert "ema_tau" not in arguments


def test_average_remembers_after_tau_steps():
    schedule = Schedule(ema_tau=100.0)
    assert schedule.ema_decay(0) == 0.0
    assert math.isclose(schedule.ema_decay(100), 0.9999 * (1 - 1 / math.e))
    assert math.isclose(schedule.ema_decay(10_000), 0.9999)
