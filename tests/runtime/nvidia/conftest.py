"""A stand-in for an NVIDIA driver's libraries, built by a C compiler."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("driver.c")


@pytest.fixture
def build_driver(tmp_path):
    """Builds both libraries into a folder, which is returned; skips without a compiler."""
    if shutil.which("cc") is None:
        pytest.skip("the stand-in for NVIDIA's driver needs a C compiler")

    def build(*flags):
        folder = tmp_path / "driver"
        folder.mkdir()
        for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
            subprocess.run(["cc", "-shared", "-fPIC", *flags, "-o", folder / name, SOURCE], check=True)
        return folder

    return build
