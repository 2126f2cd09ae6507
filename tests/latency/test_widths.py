import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy_prune.errors import InputError
from deploy_prune.latency.widths import detect_step, useful_widths


def test_useful_widths_by_hand():
    assert useful_widths(80, 16) == (16, 32, 48, 64, 80)
    assert useful_widths(100, 16, 40) == (48, 64, 80, 96, 100)
    assert useful_widths(24, 16, 32) == (24,)
    assert useful_widths(3, 8) == (3,)


@given(st.integers(1, 600), st.integers(1, 64), st.integers(0, 700))
def test_useful_widths_are_ascending_and_end_full(full, step, minimum):
    widths = useful_widths(full, step, minimum)
    assert list(widths) == sorted(set(widths))
    assert widths[-1] == full
    assert all(w % step == 0 and w >= minimum for w in widths[:-1])


def test_useful_widths_refuse_a_step_of_zero():
    with pytest.raises(InputError, match="full width 64 and step 0, expected both to be at least 1"):
        useful_widths(64, 0)


def test_step_of_the_published_staircase_is_16():
    """Two 3x3 convolutions 64 -> c -> 64 on an AVX-512 machine, microseconds (design, section 1)."""
    times = {128: 471, 124: 470, 120: 473, 112: 420, 104: 418, 100: 418}
    times |= {96: 366, 88: 366, 64: 248, 56: 248, 32: 141, 24: 141}
    assert detect_step(list(times), [t * 1e-6 for t in times.values()]) == 16


@pytest.mark.parametrize("step", [1, 4, 8, 16, 32])
@pytest.mark.parametrize("seed", range(5))
def test_step_of_a_noisy_staircase(step, seed):
    widths = np.arange(4, 129, 1 if step == 1 else max(1, step // 4))
    noise = 1 + 0.01 * np.random.default_rng(seed).standard_normal(len(widths))
    times = (20 + 3 * np.ceil(widths / step) * step) * 1e-6 * noise
    found = detect_step(widths.tolist(), times.tolist())
    assert found == step if step > 1 else found <= 4  # steps of one channel are below the noise


def test_widths_of_which_no_two_share_a_step_show_none():
    assert detect_step([64, 128, 192, 256], [1.0, 2.0, 3.0, 4.0]) == 1


def test_too_few_measurements_are_refused():
    with pytest.raises(InputError, match="got 2 widths and 2 times, expected three or more"):
        detect_step([8, 16], [1.0, 2.0])


def test_a_spoilt_measurement_makes_no_step_of_its_own():
    """A run on a busy machine: c = 40 and c = 68 were measured a fifth too fast."""
    shares = [0.460, 0.582, 0.588, 0.791, 0.765, 0.750, 0.793, 0.807, 0.990, 0.998, 1.0]
    assert detect_step(range(40, 81, 4), shares) == 16
