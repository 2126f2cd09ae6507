"""Boards by their files, laid out as the kernel and NVIDIA's packages do."""

import pytest

from deploy_prune.hardware.board import identify_board, read_throttled
from deploy_prune.runtime.worker.readings import read_device
from deploy_prune.runtime.worker.sensors import count_overcurrents, read_rails_w


@pytest.fixture
def root(tmp_path):
    """Writes files under a root folder, as {path: text}."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


ORIN_NANO = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
}


def test_a_jetson(root):
    board = identify_board(root(ORIN_NANO), "aarch64")
    assert (board.kind, board.chip, board.module) == ("jetson", "Orin", "Orin Nano 8GB (developer kit)")
    assert (board.l4t, board.jetpack) == ("36.4.3", "6.2")
    assert board.describe() == (
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super, module Orin Nano 8GB (developer kit), "
        "Jetson Linux 36.4.3, JetPack 6.2"
    )


@pytest.mark.parametrize(
    ("revision", "l4t", "jetpack"),
    [("R38 (release), REVISION: 2.1", "38.2.1", "7.0"), ("R99 (release), REVISION: 1.0", "99.1.0", None)],
)
def test_a_release_that_is_not_known_is_not_guessed(root, revision, l4t, jetpack):
    board = identify_board(root({**ORIN_NANO, "etc/nv_tegra_release": f"# {revision}, GCID: 1\n"}), "aarch64")
    assert (board.l4t, board.jetpack) == (l4t, jetpack)


def test_a_raspberry_pi_and_others(root, tmp_path):
    assert identify_board(tmp_path / "nowhere", "x86_64").describe() == "x86 machine"
    assert identify_board(tmp_path / "nowhere", "riscv64").kind == "other"
    pi = identify_board(root({"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"}), "aarch64")
    assert (pi.kind, pi.describe()) == ("raspberry pi", "Raspberry Pi 5 Model B Rev 1.0")


def test_what_a_raspberry_pi_says_of_its_supply():
    assert read_throttled("throttled=0x0\n") == ()
    assert read_throttled("throttled=0x50005\n") == (
        "under-voltage", "throttled", "under-voltage has occurred", "throttling has occurred",
    )  # fmt: skip


def test_rails_are_volts_times_amperes(root):
    folder = "sys/class/hwmon/hwmon3"
    files = {
        f"{folder}/name": "ina3221\n",
        f"{folder}/in1_label": "VDD_IN\n", f"{folder}/in1_input": "5000\n", f"{folder}/curr1_input": "1200\n",
        f"{folder}/in2_label": "VDD_CPU\n", f"{folder}/in2_input": "5000\n",
        "sys/class/hwmon/hwmon0/name": "nvme\n", "sys/class/hwmon/hwmon0/in1_label": "x\n",
        "sys/class/hwmon/hwmon4/oc1_event_cnt": "7\n",
    }  # fmt: skip
    assert read_rails_w(root(files)) == {"VDD_IN": 6.0}  # 5 V and 1.2 A; the second has no current
    assert count_overcurrents(root(files)) == {"oc1_event_cnt": 7}


def test_what_is_sent_of_a_board_is_what_is_read_on_it(root):
    sent = read_device([], root(ORIN_NANO))["files"]
    assert {name: sent[name] for name in ORIN_NANO} == ORIN_NANO
