from deploy_prune.tasks.schedule import Schedule


def test_arguments_are_spelled_as_ultralytics_spells_them():
    arguments = Schedule(batch=8, distill=3.0).arguments()
    assert arguments["dis"] == 3.0
    assert arguments["nbs"] == arguments["batch"] == 8  # one step per batch
    assert "distill" not in arguments
    assert "ema_steps" not in arguments


def test_average_is_a_mean_first_and_forgets_later():
    schedule = Schedule(ema_steps=4)
    assert [schedule.ema_decay(step) for step in (1, 2, 3, 4, 5)] == [0, 1 / 2, 1 - 1 / 3, 3 / 4, 3 / 4]
