"""Machines as their kernels describe them, from files as they are found there."""

import dataclasses
import json

import pytest

from deploy_prune.hardware.machine import detect_machine

X86_CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Gold 6438Y+
flags\t\t: fpu vme sse2 fma f16c avx avx2 avx512f avx512_vnni amx_tile amx_int8

processor\t: 1
model name\t: another name
flags\t\t: fpu
"""
RASPBERRY_PI_CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes crc32 asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""


@pytest.fixture
def tree(tmp_path):
    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def test_x86_with_frequency_control(tree):
    clocks = "sys/devices/system/cpu/cpu0/cpufreq"
    machine = detect_machine(
        tree(
            {
                "proc/cpuinfo": X86_CPUINFO,
                "proc/meminfo": "MemTotal:       16384000 kB\nMemFree: 1 kB\n",
                f"{clocks}/scaling_governor": "performance\n",
                f"{clocks}/scaling_min_freq": "800000\n",
                f"{clocks}/scaling_max_freq": "3500000\n",
            }
        )
    )
    assert machine.processor == "Intel(R) Xeon(R) Gold 6438Y+"
    assert machine.flags == ("avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "amx_tile", "amx_int8")
    assert machine.governor == "performance"
    assert (machine.min_frequency_hz, machine.max_frequency_hz) == (800_000_000, 3_500_000_000)
    assert machine.memory_bytes == 16_384_000 * 1024


def test_raspberry_pi_is_named_by_its_board(tree):
    root = tree({"proc/cpuinfo": RASPBERRY_PI_CPUINFO, "proc/device-tree/model": "Raspberry Pi 5 Model B\0"})
    machine = detect_machine(root)
    assert machine.processor == "Raspberry Pi 5 Model B"
    assert machine.flags == ("asimd", "asimdhp", "asimddp")
    assert machine.governor is None and machine.memory_bytes is None


def test_a_board_is_named_although_its_kernel_names_the_cores(tree):
    """As on Jetsons, whose cpuinfo has a model name that says nothing."""
    cpuinfo = "model name\t: ARMv8 Processor rev 1 (v8l)\nFeatures\t: fp asimd\n"
    board = "NVIDIA Jetson Orin Nano Developer Kit\0"
    root = tree({"proc/cpuinfo": cpuinfo, "proc/device-tree/model": board})
    assert detect_machine(root).processor == "NVIDIA Jetson Orin Nano Developer Kit"


def test_a_system_without_these_files_is_described_as_far_as_it_goes(tmp_path):
    machine = detect_machine(tmp_path)
    assert machine.processor and machine.flags == () and machine.cores >= machine.usable_cores >= 1


def test_this_machine_goes_through_json():
    machine = detect_machine()
    assert json.loads(json.dumps(machine.to_dict()))["fingerprint"] == machine.fingerprint


def test_fingerprint_is_of_the_hardware_alone():
    machine = detect_machine()
    rebooted = dataclasses.replace(machine, governor="powersave", os="Linux 99", usable_cores=1)
    assert rebooted.fingerprint == machine.fingerprint and len(machine.fingerprint) == 12
    assert dataclasses.replace(machine, processor="another").fingerprint != machine.fingerprint
    assert dataclasses.replace(machine, flags=("sve2",)).fingerprint != machine.fingerprint
