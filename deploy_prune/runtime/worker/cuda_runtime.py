"""The few calls of CUDA's runtime library that an engine needs, through ctypes: memory, a stream, two events.

Names and signatures are those of the CUDA Runtime API reference, the same in CUDA 11, 12 and 13. Not run on a GPU yet.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from pathlib import Path
from typing import Any

from deploy_prune.runtime.worker.refusal import RefusedError

SUCCESS, HOST_TO_DEVICE = 0, 1  # cudaSuccess, cudaMemcpyHostToDevice
_SONAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")
_NAME_BYTES = 256


class Cuda:
    """Device memory and times of this process.

    Raises:
        RefusedError: the library is not there, or a call failed; a failed call makes the process useless.
    """

    def __init__(self) -> None:
        self._library = load_library()
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        try:
            self.stream = self._make("cudaStreamCreate")  # the first call, which finds that there is no GPU or driver
        except RefusedError as refused:
            raise RefusedError("device", str(refused)) from refused
        self._start, self._stop = self._make("cudaEventCreate"), self._make("cudaEventCreate")

    def allocate(self, nbytes: int) -> int:
        """The address of ``nbytes`` on the device; freed with the process."""
        address = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(max(nbytes, 1)))
        return address.value or 0

    def copy_in(self, address: int, array: Any) -> None:
        """Copy a contiguous NumPy array to the device."""
        size = ctypes.c_size_t(array.nbytes)
        self._call("cudaMemcpy", ctypes.c_void_p(address), ctypes.c_void_p(array.ctypes.data), size, HOST_TO_DEVICE)

    def free_bytes(self) -> int:
        """How much memory of the device is free."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def record_start(self) -> None:
        """Mark on the stream where the time begins."""
        self._call("cudaEventRecord", self._start, self.stream)

    def wait_ns(self) -> int:
        """Mark where the time ends, wait for it, and say how many nanoseconds lie between."""
        self._call("cudaEventRecord", self._stop, self.stream)
        self._call("cudaEventSynchronize", self._stop)
        milliseconds = ctypes.c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(milliseconds), self._start, self._stop)
        return round(milliseconds.value * 1e6)

    def _make(self, function: str) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self._call(function, ctypes.byref(handle))
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code != SUCCESS:
            said = self._library.cudaGetErrorString(code).decode("utf-8", "replace")
            raise RefusedError("failed", f"{function}: {said} (CUDA error {code})")


def load_library() -> ctypes.CDLL:
    """libcudart: the one that this process has already, the system's, or that of the packages of TensorRT's wheels."""
    mapped = Path("/proc/self/maps")
    present = re.findall(r"/\S*libcudart\.so\S*", mapped.read_text(encoding="utf-8") if mapped.exists() else "")
    packages = importlib.util.find_spec("nvidia")
    folders = list(packages.submodule_search_locations or []) if packages is not None else []
    wheels = sorted(str(path) for folder in folders for path in Path(folder).glob("*/lib/libcudart.so.*"))
    library = next(filter(None, map(open_library, (*present, *_SONAMES, *wheels))), None)
    if library is None:
        raise RefusedError("device", f"CUDA's runtime library is not found ({_SONAMES[0]} or older)")
    return library


def open_library(name: str) -> ctypes.CDLL | None:
    """A shared library; None where it cannot be loaded."""
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def device_name() -> str | None:
    """The first GPU's name, as CUDA counts, from the driver library (CUDA Driver API: cuDeviceGetName)."""
    return _ask_driver("cuDeviceGetName")


def device_address() -> str | None:
    """The first GPU's place on the PCI bus, as CUDA counts (CUDA Driver API: cuDeviceGetPCIBusId)."""
    return _ask_driver("cuDeviceGetPCIBusId")


def _ask_driver(function: str) -> str | None:
    """What a function of the driver library says of the first GPU as text; None where it says nothing."""
    driver = open_library("libcuda.so.1")
    device, text = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    if driver is None or driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    failed = getattr(driver, function)(text, _NAME_BYTES, device)
    return None if failed else text.value.decode("utf-8", "replace")
