import numpy as np
import pytest

from deploy_prune.latency.sampling import sample_widths
from deploy_prune.latency.series import collect_series
from deploy_prune.latency.speed import find_slowness
from deploy_prune.latency.widths import useful_widths


@pytest.fixture(scope="module")
def series(planted):
    device = planted(24)
    menu = {g: useful_widths(full, 16, 16) for g, full in device.full.items()}
    rng = np.random.default_rng(0)
    samples = [device.sample(w, rng, 0.02) for w in sample_widths(menu, 30, seed=1)]
    return collect_series(samples, device.full)


def test_slow_moments_are_found(series):
    planted = np.where(np.arange(30) % 4 == 1, 1.4, 1.0)
    found = find_slowness([node.at_speed(1 / planted) for node in series])
    assert found == pytest.approx(planted, abs=0.08)
    assert np.abs(found - planted).mean() < 0.03


def test_steady_machine_is_called_steady(series):
    assert np.abs(find_slowness(series) - 1).mean() < 0.015


def test_too_few_nodes_say_nothing(series):
    assert (find_slowness(series[:2]) == 1).all()
