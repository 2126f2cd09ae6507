"""NVML through ctypes, on a stand-in for the driver's libraries, beside NVIDIA's own Python package. No GPU is here."""

import ctypes
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy_prune.hardware import host
from deploy_prune.hardware.host import host_from_readings
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.pipeline.summary import flatten_conditions
from deploy_prune.runtime import gpu
from deploy_prune.runtime.client import WorkerProcess
from deploy_prune.runtime.contention import Contention, contention_over
from deploy_prune.runtime.gpu import GpuReadings, gather_readings, join_readings
from deploy_prune.runtime.measure import compare, measure
from deploy_prune.runtime.worker import nvml
from deploy_prune.runtime.worker.nvml import GpuWatch, Nvml, open_card

TENSORRT = Path(__file__).parents[1] / "tensorrt"
COOL, HOT = "1980 2619 210500 61 0", "1410 2619 249000 84 36"  # 36: power limit and heat
READ = "import json; from deploy_prune.runtime.worker.nvml import open_card; print(json.dumps(open_card().read()))"
READ_BY_NVIDIA = """
import json, pynvml as n
n.nvmlInit()
card = n.nvmlDeviceGetHandleByPciBusId(b"0000:41:00.0")
print(json.dumps({
    "sm_mhz": n.nvmlDeviceGetClockInfo(card, n.NVML_CLOCK_SM),
    "memory_mhz": n.nvmlDeviceGetClockInfo(card, n.NVML_CLOCK_MEM),
    "power_mw": n.nvmlDeviceGetPowerUsage(card),
    "temperature_c": n.nvmlDeviceGetTemperature(card, n.NVML_TEMPERATURE_GPU),
    "reasons": n.nvmlDeviceGetCurrentClocksEventReasons(card),
}))
"""


def reading(sm_mhz=1980, memory_mhz=2619, power_mw=210_500, temperature_c=61, reasons=0):
    return {"sm_mhz": sm_mhz, "memory_mhz": memory_mhz, "power_mw": power_mw, "temperature_c": temperature_c,
            "reasons": reasons}  # fmt: skip


def run(script, folder, readings):
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "STAND_IN_GPU": readings}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_names_and_numbers_are_those_of_nvidias_package():
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    assert (nvml.SUCCESS, nvml.CLOCK_SM, nvml.CLOCK_MEMORY, nvml.TEMPERATURE_GPU) == (
        pynvml.NVML_SUCCESS, pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM, pynvml.NVML_TEMPERATURE_GPU,
    )  # fmt: skip
    names = ("SwPowerCap", "HwSlowdown", "SyncBoost", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")
    assert list(gpu.SLOWED_BY) == [getattr(pynvml, f"nvmlClocksEventReason{name}") for name in names]
    assert pynvml.nvmlClocksEventReasonGpuIdle == gpu.IDLE
    called = set(re.findall(r"\bnvml(?:Init|Device)\w+", Path(nvml.__file__).read_text()))
    bound = set(re.findall(r'_nvmlGetFunctionPointer\("(\w+)"\)', Path(pynvml.__file__).read_text()))
    assert called - {"nvmlInit_v2"} <= bound and len(called) == 7  # that package inits by nvmlInitWithFlags


def test_reads_what_nvidias_package_reads(build_driver):
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    folder = build_driver()
    assert run(READ, folder, HOT) == run(READ_BY_NVIDIA, folder, HOT) == reading(1410, 2619, 249_000, 84, 36)


def test_the_driver_functions_are_those_of_nvidias_header(build_driver):
    folders = {path.parent for entry in sys.path for path in Path(entry).glob("nvidia/*/include/cuda.h")}
    if not folders:
        pytest.skip("NVIDIA's cuda.h, which a package of PyTorch's brings, is not installed")
    build_driver("-DCUDA_HEADER", "-Werror", *(f"-I{folder}" for folder in folders))


def test_an_old_driver_and_what_a_card_does_not_say(build_driver):
    folder = build_driver("-DOLD_DRIVER")
    assert run(READ, folder, "1980 -1 -1 61 4") == reading(memory_mhz=None, power_mw=None, reasons=4)


def test_a_card_is_described_where_a_device_is_checked(build_driver):
    script = "import json\nfrom pathlib import Path\nfrom deploy_prune.runtime.worker.readings import read_device\n"
    raw = run(f"{script}print(json.dumps(read_device([], Path('/'))))", build_driver(), "1980 -1 28500 41 0")
    assert host_from_readings(raw).card == "Stand-in, 1980 MHz, 41 °C, 28.5 W"
    assert host_from_readings({**raw, "card": {"name": "Old"}}).card == "Old"
    assert host_from_readings({**raw, "card": None}).card is None


def test_without_a_driver_there_is_nothing():
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has an NVIDIA GPU")
    assert open_card() is None
    watch = GpuWatch(None)
    watch.take()
    assert watch.hand_over() == []


def test_a_watch_beside_another_process_reads_now_and_then(build_driver, monkeypatch):
    monkeypatch.setenv("STAND_IN_GPU", f"{COOL};{HOT}")
    library = ctypes.CDLL(str(build_driver() / "libnvidia-ml.so.1"))
    card = ctypes.c_void_p()
    assert (library.nvmlInit_v2(), library.nvmlDeviceGetHandleByPciBusId_v2(b"0000:41:00.0", ctypes.byref(card))) == (
        0,
        0,
    )
    watch = GpuWatch(Nvml(library, card))
    with watch.beside():
        time.sleep(4 * nvml.SAMPLE_EVERY_S)
    first, second, *_ = watch.hand_over()
    assert (first, second) == (reading(), reading(1410, 2619, 249_000, 84, 36))
    watch.take()
    watch.take()  # a few microseconds later: not again
    assert len(watch.hand_over()) == 1
    assert len(watch.hand_over()) == 1  # one at least, however short the runs were


def test_readings_worked_out_by_hand():
    seen = gather_readings([reading(), reading(1410, power_mw=249_000, temperature_c=84, reasons=0x24)])
    assert seen == GpuReadings(2, (1_410_000_000, 1_980_000_000), (2_619_000_000,) * 2, (210.5, 249.0), (61, 84),
                               ("its power limit", "heat"))  # fmt: skip
    assert seen.disturbances == (
        "the GPU was held back by its power limit",
        "the GPU was held back by heat",
        "the GPU's clock went between 1.41 and 1.98 GHz",
    )
    assert GpuReadings.from_dict(json.loads(json.dumps(dataclasses.asdict(seen)))) == seen


def test_the_clock_of_an_idle_card_and_settings_of_the_user_are_no_disturbance():
    seen = gather_readings([reading(), reading(sm_mhz=210, reasons=0x1), reading(sm_mhz=1950, reasons=0x2)])
    assert seen.clock_hz == (1_950_000_000, 1_980_000_000)
    assert seen.disturbances == ()


def test_a_card_that_says_nothing_and_no_card():
    seen = gather_readings([reading(None, None, None, None, None)])
    assert (seen.clock_hz, seen.power_w, seen.slowed_by, seen.disturbances) == ((None, None), (None, None), (), ())
    assert gather_readings([]) is None and join_readings([None, None]) is None
    assert join_readings([seen, None, gather_readings([reading()])]).power_w == (210.5, 210.5)


@pytest.fixture
def profile(build_driver, tmp_path, monkeypatch):
    """TensorRT's bindings and CUDA's runtime are stand-ins too: what a worker on a GPU does besides, it does."""
    folder = build_driver()
    cudart = TENSORRT / "python_stand_in/cudart.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "libcudart.so.13", cudart], check=True)
    monkeypatch.setattr(host, "GPU_FILES", ("dev/null",))
    monkeypatch.syspath_prepend(str(TENSORRT / "python_stand_in"))
    monkeypatch.setenv("PYTHONPATH", str(TENSORRT / "python_stand_in"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    monkeypatch.setenv("STAND_IN_VERSION", "10.3.0")
    monkeypatch.setenv("STAND_IN_GPU", f"{COOL};{HOT}")
    limits = {"min_runs": 20, "min_s": 0.5, "max_s": 2.0, "ci_width": 0.5, "pairs": 2, "repeats": 0}
    fields = {"name": "stand-in", "engine": "tensorrt", "mode": "python", "device": "cuda", "precision": "fp16"}
    tensorrt = {"typing": "weak", "cache": str(tmp_path / "cache")}
    return HardwareProfile.model_validate({**fields, "tensorrt": tensorrt, "measuring": limits})


def test_a_measurement_keeps_what_the_card_said(make_model, profile):
    timing = measure(make_model(), profile)
    seen = timing.conditions.contention
    assert seen.gpu.readings >= 1 and seen.gpu.slowed_by == ("its power limit", "heat")
    assert "the GPU was held back by heat" in seen.reasons and seen.contended
    assert Contention.from_dict(json.loads(json.dumps(seen.to_dict()))) == seen
    assert flatten_conditions(timing.conditions)["contention.gpu.temperature_c"] == seen.gpu.temperature_c
    assert contention_over([seen, seen]).gpu.readings == 2 * seen.gpu.readings


def test_so_does_a_comparison(make_model, profile):
    comparison = compare(make_model(16), make_model(32), profile, rounds=2)
    assert comparison.baseline.conditions.contention.gpu.temperature_c == (84, 84)


def test_a_worker_on_the_cpu_asks_no_card(make_model, brief, monkeypatch, build_driver):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(build_driver()))
    monkeypatch.setenv("STAND_IN_GPU", COOL)
    contention = measure(make_model(), brief).conditions.contention
    assert contention.gpu is None and "gpu" not in contention.to_dict()
    with WorkerProcess() as worker:
        assert worker.request("state", timeout_s=30)["gpu"] == []
