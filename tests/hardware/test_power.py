"""Clocks and power modes from files as kernels write them, and what a policy makes of them."""

import pytest

from deploy_prune.hardware.power import PowerState, read_power
from deploy_prune.hardware.profile import PowerPolicy

CPU = "sys/devices/system/cpu/cpu{}/cpufreq/{}"
NVPMODEL = "#!/bin/sh\necho 'NV Power Mode: MAXN_SUPER'\necho 2\n"


@pytest.fixture
def tree(tmp_path):
    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return tmp_path

    return write


def clocks(core, low, high):
    return {CPU.format(core, "scaling_min_freq"): low, CPU.format(core, "scaling_max_freq"): high}


def policy(**fields):
    return PowerPolicy.model_validate(fields)


def test_clocks_are_locked_when_all_limits_are_equal(tree):
    root = tree({**clocks(0, 2400000, 2400000), **clocks(1, 2400000, 2400000)})
    assert read_power(root, "no-nvpmodel").locked is True
    tree(clocks(1, 1500000, 2400000))
    assert read_power(root, "no-nvpmodel").locked is False


def test_the_gpu_of_a_jetson_counts(tree):
    gpu = "sys/class/devfreq/17000000.gpu"
    root = tree({**clocks(0, 1, 1), f"{gpu}/min_freq": 306000000, f"{gpu}/max_freq": 1020000000})
    assert read_power(root, "no-nvpmodel").locked is False


def test_a_kernel_that_tells_nothing(tmp_path):
    assert read_power(tmp_path, "no-nvpmodel") == PowerState(None, None, None)


def test_the_power_mode_is_asked_of_nvpmodel(tmp_path):
    command = tmp_path / "nvpmodel"
    command.write_text(NVPMODEL)
    command.chmod(0o755)
    assert read_power(tmp_path, str(command)).mode == "MAXN_SUPER"


def test_nothing_asked_for_is_always_met():
    assert PowerState(None, None, None).differences(policy()) == ()


def test_every_difference_comes_with_what_to_do():
    state = PowerState(governor="powersave", locked=False, mode="15W")
    assert state.differences(policy(clocks="locked", governor="performance", mode="MAXN")) == (
        "the governor is powersave, not performance: sudo cpupower frequency-set -g performance",
        "the power mode is 15W, not MAXN: sudo nvpmodel -m ID, with the ID of that name in /etc/nvpmodel.conf",
        "the clocks are not locked: sudo jetson_clocks on a Jetson, sudo cpupower frequency-set elsewhere",
    )


def test_what_the_kernel_does_not_tell_does_not_pass():
    (line,) = PowerState(None, None, None).differences(policy(clocks="locked"))
    assert line.startswith("the clocks are not known to be locked: ")
    assert PowerState("performance", True, "MAXN").differences(policy(clocks="locked", mode="MAXN")) == ()
