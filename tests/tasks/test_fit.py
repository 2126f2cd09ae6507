"""The training loop: what it learns, that kills and processes change nothing, and what it refuses."""

import csv
import runpy
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from deploy_prune.errors import InputError
from deploy_prune.tasks.fit_settings import FitSettings

SCRIPT = Path(__file__).with_name("fit_run.py")
run = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def weights_equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def start(folder, *arguments, launcher=()):
    command = [sys.executable, *launcher, SCRIPT, folder, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def test_it_learns_and_logs_every_epoch(tmp_path):
    untrained = run.build()
    trained = run.fit().run(untrained, tmp_path)
    assert run.accuracy(untrained) < 0.3 and run.accuracy(trained) > 0.7
    assert not trained.training and weights_equal(untrained.state_dict(), run.build().state_dict())
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[-1]["score"]) == pytest.approx(run.accuracy(trained))


@pytest.mark.parametrize("step", [4, 10, 25])
def test_a_run_killed_at_any_step_ends_with_the_same_weights(tmp_path, step):
    """Ten steps an epoch: within the first, before the first step of the second, and within the third."""
    whole = run.fit().run(run.build(norm=True, dropout=0.2), tmp_path / "whole")
    killed = start(tmp_path / "broken", "kill", step)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert start(tmp_path / "broken").returncode == 0
    assert weights_equal(whole.state_dict(), torch.load(tmp_path / "broken" / "result.pt", weights_only=True))


def test_early_stopping_goes_on_after_a_kill_as_without(tmp_path):
    scores = [0.1, 0.5, 0.4, 0.3, 0.9]

    def scripted(taken=scores):
        left = iter(taken)
        return lambda model: next(left)

    settings = FitSettings(batch=run.BATCH, patience=2)
    whole = run.fit(settings, epochs=5, evaluate=scripted()).run(run.build(), tmp_path / "whole")
    second = run.fit(settings, epochs=5, evaluate=scripted(scores[:3]))
    with pytest.raises(StopIteration):
        second.run(run.build(), tmp_path / "broken")
    continued = run.fit(settings, epochs=5, evaluate=scripted(scores[3:])).run(run.build(), tmp_path / "broken")
    rows = list(csv.DictReader((tmp_path / "broken" / "metrics.csv").open()))
    assert [float(row["score"]) for row in rows] == scores[:4]
    assert weights_equal(whole.state_dict(), continued.state_dict())
    # The best is that of the second epoch.
    best = torch.load(tmp_path / "whole" / "training_state.pt", weights_only=True)["best"]
    assert weights_equal(best, whole.state_dict())


def test_a_finished_run_is_read_and_a_changed_one_begun_anew(tmp_path):
    first = run.fit().run(run.build(), tmp_path)
    state = (tmp_path / "training_state.pt").stat().st_mtime_ns
    again = run.fit().run(run.build(), tmp_path)
    assert weights_equal(first.state_dict(), again.state_dict())
    assert (tmp_path / "training_state.pt").stat().st_mtime_ns == state
    changed = run.fit(FitSettings(batch=run.BATCH, lr0=1e-3)).run(run.build(), tmp_path)
    assert not weights_equal(first.state_dict(), changed.state_dict())


def test_reading_workers_change_nothing(tmp_path):
    alone = run.fit().run(run.build(), tmp_path / "alone")
    helped = run.fit(FitSettings(batch=run.BATCH, lr0=1e-2, workers=2)).run(run.build(), tmp_path / "helped")
    assert weights_equal(alone.state_dict(), helped.state_dict())


@pytest.mark.slow
def test_two_processes_end_as_one_with_the_same_global_batch(tmp_path):
    alone = run.fit().run(run.build(), tmp_path / "alone").state_dict()
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone")
    done = start(tmp_path / "two", launcher=launcher)
    assert done.returncode == 0, done.stderr
    two = torch.load(tmp_path / "two" / "result.pt", weights_only=True)
    assert two.keys() == alone.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_no_number_names_the_epoch_and_keeps_the_last_good_state(tmp_path):
    calls = 0

    def breaks(model, batch):
        nonlocal calls
        calls += 1
        return run.loss(model, batch) * (float("nan") if calls > 15 else 1)

    with pytest.raises(InputError, match=r"in epoch 2; the last good state, after epoch 1, is .*training_state\.pt"):
        run.fit(loss=breaks).run(run.build(), tmp_path)
    assert torch.load(tmp_path / "training_state.pt", weights_only=True)["epochs_done"] == 1


def test_weights_that_are_no_numbers_are_not_kept(tmp_path):
    settings = FitSettings(batch=320, lr0=float("inf"), clip_norm=0)  # one step an epoch: its loss is still a number
    with pytest.raises(InputError, match="in epoch 1; no state was written yet; train with lr0 below inf"):
        run.fit(settings).run(run.build(), tmp_path)
    assert not (tmp_path / "training_state.pt").exists()


def test_sixteen_bits_learn_too(tmp_path):
    settings = FitSettings(batch=run.BATCH, lr0=1e-2, precision="bf16-mixed")
    trained = run.fit(settings).run(run.build(), tmp_path)
    assert run.accuracy(trained) > 0.7
    assert all(tensor.dtype == torch.float32 for tensor in trained.state_dict().values())


def test_a_batch_that_two_processes_cannot_share_is_refused():
    batches = run.fit(FitSettings(batch=31)).batches
    with pytest.raises(InputError, match="a batch of 31 cannot be shared by 2 processes"):
        batches.of(0, rank=0, world_size=2)


def test_the_shares_of_a_batch_are_the_batch():
    batches = run.fit().batches
    whole = [labels for _, labels in batches.of(3)]
    halves = [batches.of(3, rank, 2) for rank in (0, 1)]
    for both, (_, left), (_, right) in zip(whole, *halves, strict=True):
        assert both.tolist() == left.tolist() + right.tolist()
    assert len(whole) == len(batches) == 10


def test_an_epoch_has_its_own_order_and_every_sample_once():
    batches = run.fit().batches
    first, second = ([i for batch in batches.indices(epoch) for i in batch] for epoch in (0, 1))
    assert first != second and sorted(first) == sorted(second) == list(range(320))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "Adam"}, "unknown optimizer 'Adam'; choose one of AdamW, SGD"),
        ({"precision": "16"}, "unknown precision '16'; choose one of 32-true"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0; expected a share from 0 to below 1"),
        ({"batch": 0}, "batch is 0; expected at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        replace(FitSettings(), **changes)


def test_the_learning_rate_rises_then_falls_along_a_cosine():
    settings = FitSettings(lr0=1.0, lrf=0.0, warmup_epochs=1.0)
    # Four steps an epoch, three epochs: 1/5 to 4/5, then cos over eight steps.
    assert [settings.lr(step, 4, 3) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert settings.lr(4, 4, 3) == 1.0 and settings.lr(8, 4, 3) == pytest.approx(0.5)


def test_the_average_forgets_fast_at_first_and_then_as_it_is_set():
    settings = FitSettings(ema_decay=0.75)
    assert [settings.ema_share(steps) for steps in (0, 8, 26, 90)] == pytest.approx([9 / 10, 1 / 2, 1 / 4, 1 / 4])
    assert FitSettings(ema_decay=0).ema_share(90) == 1


def test_tensorboard_events_are_written(tmp_path):
    pytest.importorskip("tensorboard")
    run.fit(epochs=1).run(run.build(), tmp_path)
    assert list((tmp_path / "tensorboard").rglob("events.out.tfevents.*"))
