import os
import sys
from pathlib import Path

import pytest

os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: one thread each, as many workers as cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="session")
def own_store(tmp_path_factory):
    """No test reads or writes the user's measurements, or waits for those of others; processes inherit the places."""
    os.environ["DEPLOY_PRUNE_STORE"] = str(tmp_path_factory.mktemp("store") / "measurements.sqlite")
    os.environ["DEPLOY_PRUNE_LOCKS"] = str(tmp_path_factory.mktemp("locks"))
