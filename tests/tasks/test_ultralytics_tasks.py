"""Each task of Ultralytics: a narrow network stays narrow through training, distillation, files and validation."""

import pickle
from copy import deepcopy

import pytest
import torch

from deploy_prune.datasets import write_digits
from deploy_prune.errors import InputError
from deploy_prune.export.parity import check_parity
from deploy_prune.tasks import ultralytics_api as api
from deploy_prune.tasks.architecture import architecture
from deploy_prune.tasks.schedule import Schedule
from deploy_prune.tasks.ultralytics import UltralyticsTask, pruned_trainer

MODELS = {
    "segment": ("yolo11n-seg.yaml", "mask mAP50-95"),
    "classify": ("yolo11n-cls.yaml", "top-1 accuracy"),
    "pose": ("yolo11n-pose.yaml", "pose mAP50-95"),
    "obb": ("yolov8n-obb.yaml", "oriented mAP50-95"),
    "detect": ("yolo11n.yaml", "mAP50-95"),
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Task by name, each on its own few digits."""
    root, made = tmp_path_factory.mktemp("tasks"), {}

    def make(name):
        if name not in made:
            data = write_digits(name, root / name, train=12, val=10, image_size=64)
            schedule = Schedule(batch=4)
            made[name] = UltralyticsTask(
                data, task=name, model=MODELS[name][0], image_size=64, training=schedule, finetuning=schedule
            )
        return made[name]

    return make


@pytest.mark.parametrize("name", MODELS)
def test_a_narrow_network_survives_training_with_a_teacher_and_its_files(tasks, narrowing, name, tmp_path):
    task = tasks(name)
    dense = task.build()
    narrow = narrowing.narrowed(dense, 4)
    before = {key: value.clone() for key, value in dense.state_dict().items()}
    tuned = task.finetune(narrow, tmp_path / "run", epochs=2, teacher=dense)
    assert architecture(tuned) == architecture(narrow) != architecture(dense)
    assert not torch.equal(tuned.model[0].conv.weight, narrow.model[0].conv.weight)
    assert all(torch.equal(value, before[key]) for key, value in dense.state_dict().items())

    again = task.load(task.save(tuned, tmp_path / "tuned.pt"))
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), tuned.state_dict().values(), strict=True))
    onnx = task.export_onnx(again, tmp_path / "tuned.onnx")
    assert check_parity(tuned, onnx, task.calibration_inputs(2)).max_rel < 1e-4
    assert task.evaluate(onnx).name == task.evaluate(tuned).name == MODELS[name][1]
    assert task.evaluate(onnx).value == pytest.approx(task.evaluate(tuned).value, abs=0.005)


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_is_the_mean_over_the_images(tasks, name):
    task = tasks(name)
    model = task.build().eval()
    together, *_ = task.calibration_batches(4, 4)
    assert together["img"].shape == (4, 3, 64, 64) and 0 <= together["img"].min() < together["img"].max() <= 1
    loss = task.loss(model, together)
    loss.backward()
    assert loss.shape == () and model.model[0].conv.weight.grad.abs().sum() > 0
    repeated = {key: value for key, value in together.items() if key in ("img", "cls")}
    if name == "classify":  # elsewhere the images share one normaliser, the score of all that is found
        singles = [task.loss(model, batch).item() for batch in task.calibration_batches(4, 1)]
        assert loss.item() == pytest.approx(sum(singles) / 4, rel=1e-5)
        assert repeated["cls"].tolist() == sorted(repeated["cls"].tolist())


@pytest.mark.parametrize("name", MODELS)
def test_outputs_that_must_stay_hold_no_feature_map(tasks, name):
    task = tasks(name)
    model = task.build().eval()

    def shapes(output):
        if isinstance(output, torch.Tensor):
            return [tuple(output.shape)]
        parts = output.values() if isinstance(output, dict) else output
        return [shape for part in parts for shape in shapes(part)]

    kept = shapes(task.kept_output(model(task.example_inputs())))
    widths = {layer.conv.out_channels for layer in model.modules() if type(layer).__name__ == "Conv"}
    assert kept and not any(len(shape) == 4 and shape[1] in widths - {32} for shape in kept)  # 32: mask prototypes


@pytest.mark.parametrize("name", MODELS)
def test_trainers_can_be_pickled_and_keep_the_module(tasks, narrowing, name, tmp_path):
    task = tasks(name)
    trainer = pickle.loads(pickle.dumps(pruned_trainer(name)))
    assert trainer is pruned_trainer(name)
    narrow = narrowing.narrowed(task.build(), 4)
    settings = {"model": MODELS[name][0], "data": str(task.data), "project": str(tmp_path), "device": "cpu"}
    with api.quiet():
        running = trainer(overrides=settings | {"imgsz": 64, "plots": False})
    assert running.get_model(weights=narrow) is narrow


@pytest.mark.parametrize("name", MODELS)
def test_weights_of_the_right_task_alone_are_loaded(tasks, name, tmp_path):
    other = tasks("detect" if name != "detect" else "pose")
    path = other.save(other.build(), tmp_path / "other.pt")
    message = f"this is a network to {other.name}, the task is to {name}; use matching ones"
    with pytest.raises(InputError, match=message):
        tasks(name).load(path)


def test_an_architecture_of_another_task_is_refused(tasks):
    message = "yolov8n.yaml is an architecture to detect, the task is to obb; try 'yolo11n-obb.yaml'"
    with pytest.raises(InputError, match=message):
        UltralyticsTask(tasks("obb").data, task="obb", model="yolov8n.yaml").build()


def test_keypoints_of_another_number_are_refused(tasks, tmp_path):
    task = tasks("pose")
    people = api.build_network("pose", "yolo11n-pose.yaml", 10, 0)  # 17 keypoints, as the architecture has it
    with pytest.raises(InputError, match=r"kpt_shape is \[17, 3\] and that of .*data.yaml \[4, 3\]; use matching ones"):
        task.train(people, tmp_path, epochs=1)


def test_sigmas_of_the_data_count_in_the_loss(tasks):
    task = tasks("pose")
    model, batch = task.build().eval(), task.calibration_batches(2, 2)[0]
    lenient = deepcopy(model)
    lenient.kpt_oks_sigmas = [1.0] * 4
    assert task.loss(lenient, batch) < task.loss(model, batch)


def test_smaller_scales_keep_the_task(tasks):
    task = UltralyticsTask(tasks("classify").data, task="classify", model="yolo11s-cls.yaml", image_size=64)
    ((name, build),) = task.smaller().items()
    assert name == "yolo11n-cls.yaml" and build().task == "classify"
    pose = UltralyticsTask(tasks("pose").data, task="pose", model="yolov8s-pose.yaml", image_size=64)
    ((name, build),) = pose.smaller().items()
    assert name == "yolov8n-pose.yaml" and list(build().model[-1].kpt_shape) == [4, 3]


def test_a_teacher_changes_what_a_classifier_learns(tasks, narrowing, tmp_path):
    task = tasks("classify")
    narrow, teacher = narrowing.narrowed(task.build(), 4), task.build()
    teacher.model[-1].linear.bias.data[4] = 50.0  # it is sure that everything is a 4
    images = task.calibration_inputs(8)

    def share_of_4(model):
        with torch.no_grad():
            return model.eval()(images)[0][:, 4].mean().item()

    alone = task.finetune(narrow, tmp_path / "alone", epochs=1)
    taught = task.finetune(narrow, tmp_path / "taught", epochs=1, teacher=teacher)
    assert share_of_4(taught) > share_of_4(alone)
