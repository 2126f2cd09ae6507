"""A tiny data set of real digits, a YOLOv8n for it, and one narrowed by hand."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from deploy_prune.datasets import write_digits
from deploy_prune.tasks.ultralytics import UltralyticsTask


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks here are tiny, and other tests may run beside these
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_digits("detect", tmp_path_factory.mktemp("digits") / "set", train=8, val=4, image_size=64)


@pytest.fixture(scope="session")
def task(data):
    return UltralyticsTask(data=data, image_size=64)


@pytest.fixture(scope="session")
def narrowing():
    """The functions of narrow.py, and its path."""
    path = Path(__file__).with_name("narrow.py")
    return SimpleNamespace(**runpy.run_path(str(path)), path=path)


@pytest.fixture(scope="session")
def dense(task):
    return task.build()


@pytest.fixture
def narrow(dense, narrowing):
    return narrowing.narrowed(dense)
