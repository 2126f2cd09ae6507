"""Artifacts of the tasks: what infer.py's code finds on all validation pictures scores as the task itself says."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from artifact.made import make_artifact, run_python, verify
from PIL import Image

from deploy_prune.artifact.inference.masks import Window
from deploy_prune.artifact.inference.samples import read_label
from deploy_prune.artifact.inference.scores import METRICS
from deploy_prune.artifact.manifest import read_manifest
from deploy_prune.artifact.usage import Label, Postprocessing
from deploy_prune.datasets import write_digits
from deploy_prune.tasks.detection import DetectionTask, InstanceTask
from deploy_prune.tasks.fit_settings import FitSettings
from deploy_prune.tasks.semantic import SemanticTask
from deploy_prune.tasks.torch_task import TorchTask
from deploy_prune.tasks.ultralytics import UltralyticsTask
from deploy_prune.tasks.usage import spread

SIZE = 64
QUICK = FitSettings(lr0=2e-3, batch=4, warmup_epochs=0.0, ema_decay=0.0)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def infer(folder, *arguments):
    done = run_python(folder / "infer.py", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_semantic_segmentation(tmp_path):
    data = write_digits("semantic", tmp_path / "data", train=8, val=4, image_size=SIZE)
    task = SemanticTask(data, "torchvision/lraspp_mobilenet_v3_large", image_size=SIZE, training=QUICK)
    model = task.train(task.build(), tmp_path / "train", epochs=3)
    folder = make_artifact(task, tmp_path, model=model)
    manifest = read_manifest(folder)
    assert (manifest.metric, manifest.classes[0], len(manifest.samples)) == ("mIoU", "background", 4)
    assert manifest.models[0].score == pytest.approx(task.evaluate(tmp_path / "net.onnx").value, abs=1e-4)
    assert verify(folder).returncode == 0
    (answer,) = infer(folder, folder / "samples" / "00.jpg", "--masks", tmp_path / "masks")
    assert sum(answer["shares"].values()) == pytest.approx(1, abs=1e-4)
    with Image.open(answer["mask"]) as mask:
        assert mask.size == (SIZE, SIZE)
        counts = np.bincount(np.asarray(mask).ravel(), minlength=11) / SIZE**2
    shares = {manifest.classes[i]: share for i, share in enumerate(counts) if share}
    assert answer["shares"] == pytest.approx(shares, abs=1e-4)


def test_detection_by_torchvision(tmp_path):
    data = write_digits("coco", tmp_path / "data", train=8, val=4, image_size=SIZE)
    task = DetectionTask(data, "torchvision/ssdlite320_mobilenet_v3_large", image_size=SIZE, training=QUICK)
    model = task.train(task.build(), tmp_path / "train", epochs=6)
    folder = make_artifact(task, tmp_path, model=model)
    manifest = read_manifest(folder)
    assert (manifest.metric, manifest.postprocessing.kind) == ("mAP50-95", "boxes")
    assert manifest.models[0].score == pytest.approx(task.evaluate(tmp_path / "net.onnx").value, abs=1e-6)
    assert verify(folder).returncode == 0
    assert "objects" in infer(folder, folder / "samples" / "00.jpg")[0]


def test_detection_by_yolo(tmp_path):
    data = write_digits("detect", tmp_path / "data", train=8, val=4, image_size=SIZE)
    task = UltralyticsTask(data=data, image_size=SIZE)
    folder = make_artifact(task, tmp_path)
    manifest = read_manifest(folder)
    assert (manifest.postprocessing.kind, manifest.preprocessing.kind) == ("yolo_boxes", "letterbox")
    assert manifest.classes == tuple(str(i) for i in range(10)) and "AGPL" in manifest.notes[0]
    assert verify(folder).returncode == 0
    assert infer(folder, folder / "samples" / "00.jpg")[0]["objects"] == []  # untrained: nothing above 0.25
    assert "Nothing is suppressed inside." in (folder / "README.md").read_text()


class Own(TorchTask):
    name = "own"

    def network(self):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))

    def samples(self, split, augmented):
        return [(torch.full((3, 2, 2), float(i)), i % 3) for i in range(6)]

    def loss(self, model, batch):
        raise NotImplementedError

    def score(self, predict):
        found = [(int(predict(inputs[None]).argmax()), label) for inputs, label in self.samples("val", False)]
        return sum(guess == label for guess, label in found) / len(found)


class Decoded(Own):
    """The same with a word on what its outputs are."""

    def usage(self, n):
        plain = super().usage(n)
        labels = [Label(kind="class", class_number=self.samples("val", False)[i][1]) for i in spread(6, n)]
        samples = tuple(replace(one, label=label) for one, label in zip(plain.samples, labels, strict=True))
        return replace(plain, classes=("x", "y", "z"), postprocessing=Postprocessing(kind="logits"), samples=samples)


def test_a_task_of_ones_own_may_name_its_decoder(tmp_path):
    task = Decoded()
    folder = make_artifact(task, tmp_path)
    manifest = read_manifest(folder)
    assert (manifest.metric, manifest.notes) == ("top-1 accuracy", ())
    assert manifest.models[0].score == pytest.approx(task.evaluate(tmp_path / "net.onnx").value)
    assert infer(folder, folder / "samples" / "01.npy")[0]["class"] in "xyz"


@pytest.mark.parametrize("samples", [0, 2])
def test_a_task_of_ones_own_says_that_it_has_no_decoder(samples, tmp_path):
    folder = make_artifact(Own(), tmp_path, samples=samples)
    manifest = read_manifest(folder)
    assert manifest.notes[0].startswith("No decoder is written for this task's outputs yet")
    assert (manifest.metric, manifest.models[0].score, len(manifest.samples)) == (None, None, samples)
    assert manifest.notes[0] in (folder / "README.md").read_text()
    assert verify(folder).returncode == 0
    if samples:
        (answer,) = infer(folder, folder / "samples" / "01.npy")
        assert answer["outputs"][0]["shape"] == [1, 3]


@pytest.mark.parametrize(
    ("task", "config", "kind", "shape"),
    [
        ("segment", "yolo11n-seg.yaml", "yolo_masks", [1, 46, 84]),
        ("pose", "yolo11n-pose.yaml", "yolo_keypoints", [1, 26, 84]),
        ("obb", "yolo11n-obb.yaml", "yolo_turned", [1, 15, 84]),
    ],
)
def test_the_other_tasks_of_yolo(task, config, kind, shape, tmp_path):
    data = write_digits(task, tmp_path / "data", train=4, val=2, image_size=SIZE)
    folder = make_artifact(UltralyticsTask(data, task, config, SIZE), tmp_path)
    manifest = read_manifest(folder)
    assert manifest.postprocessing.kind == kind and list(manifest.models[0].outputs[0].shape) == shape
    assert manifest.models[0].score is not None and verify(folder).returncode == 0
    assert infer(folder, folder / "samples" / "00.jpg")[0]["objects"] == []


def test_labels_that_are_found_score_one(tmp_path):
    """The labels of each kind, taken for what was found."""
    for task, kind in (("segment", "yolo_masks"), ("pose", "yolo_keypoints"), ("obb", "yolo_turned")):
        data = write_digits(task, tmp_path / task, train=4, val=2, image_size=SIZE)
        yolo = UltralyticsTask(data, task, image_size=SIZE)
        pairs = []
        for sample in yolo.usage(2).samples:
            if sample.masks is not None:
                np.savez(tmp_path / "masks.npz", masks=sample.masks)
            label = sample.label.model_dump() | ({"file": "masks.npz"} if sample.masks is not None else {})
            true = read_label(tmp_path, label, [0.1] * 4)
            found = {**true, "scores": np.ones(len(true["labels"]))}
            if "masks" in true:
                assert len(true["masks"]) == len(true["labels"])
                found["windows"] = [Window(0, 0, mask) for mask in true["masks"]]
            pairs.append((found, true))
        assert METRICS[kind][1](pairs, 10) == pytest.approx(1)


def test_masks_of_torchvision(tmp_path):
    data = write_digits("coco", tmp_path / "data", train=4, val=2, image_size=SIZE)
    task = InstanceTask(data, "torchvision/maskrcnn_resnet50_fpn", image_size=SIZE)
    folder = make_artifact(task, tmp_path)
    manifest = read_manifest(folder)
    assert (manifest.postprocessing.kind, manifest.metric) == ("boxes_with_masks", "mask mAP50-95")
    assert manifest.samples[0].label.file == "samples/00_masks.npz" and verify(folder).returncode == 0
