from collections import Counter
from copy import deepcopy
from pathlib import Path

import onnx
import pytest
import torch
from rich.console import Console
from rich.progress import Progress

from deploy_prune.datasets import write_digits
from deploy_prune.errors import ExportError, InputError
from deploy_prune.export.parity import check_parity
from deploy_prune.tasks import ultralytics_api as api
from deploy_prune.tasks.architecture import architecture
from deploy_prune.tasks.schedule import Schedule
from deploy_prune.tasks.ultralytics import UltralyticsTask


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_build_follows_from_the_seed_and_leaves_the_generators_alone(task, dense, data):
    state = torch.get_rng_state()
    assert same(weights(task.build()), weights(dense))
    assert torch.equal(torch.get_rng_state(), state)
    other = UltralyticsTask(data=data, image_size=64, seed=1).build()
    assert not same(weights(other), weights(dense))
    assert dense.names[3] == "3"


def test_example_inputs_are_the_same_image_every_time(task):
    image = task.example_inputs()
    assert image.shape == (1, 3, 64, 64)
    assert torch.equal(image, task.example_inputs())
    assert 0 <= image.min() < image.max() <= 1


def test_kept_output_leaves_out_the_feature_maps_in_both_modes(task, dense):
    decoded, raw = task.kept_output(dense.eval()(task.example_inputs()))
    assert decoded.shape == (1, 14, 84)
    assert raw.keys() == task.kept_output(dense.train()(task.example_inputs().repeat(2, 1, 1, 1))).keys()
    assert {"boxes", "scores"} <= raw.keys()
    assert "feats" not in raw
    dense.eval()


def test_finetuning_keeps_a_narrow_network_and_its_input(task, narrow, dense, tmp_path):
    before = weights(narrow)
    console = Console(record=True, file=(tmp_path / "screen").open("w"))
    with Progress(console=console) as progress:
        tuned = task.finetune(narrow, tmp_path, epochs=1, teacher=dense, progress=progress)
    assert same(weights(narrow), before)
    assert architecture(tuned) == architecture(narrow) != architecture(dense)
    assert not same(weights(tuned), before)
    assert "mAP50-95 0.0" in console.export_text()
    assert type(tuned) is type(dense)
    assert not any(layer._forward_hooks for layer in tuned.model)  # the teacher's listeners are gone


def test_a_finished_run_is_not_trained_again_and_another_one_is(task, narrow, tmp_path, capfd):
    first = task.train(narrow, tmp_path, epochs=1)
    stamp = (tmp_path / "training_state.pt").stat().st_mtime_ns
    assert same(weights(task.train(narrow, tmp_path, epochs=1)), weights(first))
    assert (tmp_path / "training_state.pt").stat().st_mtime_ns == stamp
    task.train(first, tmp_path, epochs=1)
    assert (tmp_path / "training_state.pt").stat().st_mtime_ns > stamp
    assert capfd.readouterr().out == ""  # nothing of Ultralytics' own console


def test_training_leaves_the_number_of_threads(task, tmp_path, narrow):
    torch.set_num_threads(2)
    task.evaluate(narrow)
    assert torch.get_num_threads() == 2


def test_diverging_training_says_what_to_change(task, dense, tmp_path):
    sick = deepcopy(dense)
    sick.model[0].conv.weight.data.fill_(float("nan"))
    message = r"the loss is no longer a number after epoch 2; train with a smaller lr0 than 0\.\d+"
    with pytest.raises(InputError, match=message):
        task.train(sick, tmp_path, epochs=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr0": 2.0}, "'lr0=2.0' is an invalid value. Valid 'lr0' values are between 0.0 and 1.0"),
        ({"optimizer": "Adan"}, "unknown optimizer 'Adan'; choose one of Adam, .*, SGD"),
    ],
)
def test_schedule_that_cannot_be(data, dense, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        task = UltralyticsTask(data=data, image_size=64, training=Schedule(**settings))
        task.train(dense, tmp_path, epochs=1)


def test_file_and_module_score_the_same(task, dense, tmp_path):
    path = task.export_onnx(dense, tmp_path / "a.onnx")
    assert task.evaluate(path) == task.evaluate(dense)
    assert task.evaluate(dense).name == "mAP50-95"


def test_calibration_inputs_are_training_images_as_the_network_gets_them(task, data):
    from PIL import Image

    images = task.calibration_inputs(2)
    assert images.shape == (2, 3, 64, 64)
    assert images.dtype == torch.float32
    first = sorted((data.parent / "images" / "train").iterdir())[0]
    stored = torch.tensor(list(Image.open(first).convert("RGB").getdata())).T.reshape(3, 64, 64)
    assert (images[0] * 255 - stored).abs().max() <= 4  # two JPEG decoders round differently; order RGB
    with pytest.raises(InputError, match=r"asked for 9 training images; .*data.yaml has 8"):
        task.calibration_inputs(9)


def test_the_loss_on_calibration_batches_is_ultralytics_own(task, dense):
    from ultralytics.cfg import get_cfg

    batches = task.calibration_batches(3, 2)
    assert [len(batch["img"]) for batch in batches] == [2, 1]
    assert torch.equal(torch.cat([batch["img"] for batch in batches]), task.calibration_inputs(3))
    assert all(len(batch["cls"]) == len(batch["bboxes"]) > 0 for batch in batches)
    model, reference = deepcopy(dense).eval(), deepcopy(dense).eval()
    reference.args = get_cfg()
    found = task.loss(model, batches[0])
    assert found.item() == pytest.approx(reference.loss(batches[0])[0].sum().item() / 2)
    found.backward()
    assert model.model[0].conv.weight.grad.abs().sum() > 0
    assert model.args == dense.args and "criterion" not in vars(model) and same(weights(model), weights(dense))
    with pytest.raises(InputError, match=r"asked for 9 training images; .*data.yaml has 8"):
        task.calibration_batches(9, 4)


def test_saved_narrow_network_comes_back_to_the_bit(task, narrow, tmp_path):
    again = task.load(task.save(narrow, tmp_path / "narrow.pt"))
    assert same(weights(again), weights(narrow))
    assert again.names == narrow.names
    assert task.load(task.save(again, tmp_path / "again.pt")).yaml == again.yaml


def test_dense_network_stays_rebuildable(task, dense, tmp_path):
    assert task.load(task.save(dense, tmp_path / "dense.pt")).yaml == dense.yaml


def test_exported_file_is_one_static_reproducible_graph(task, narrow, tmp_path):
    before = weights(narrow)
    path = task.export_onnx(narrow, tmp_path / "new" / "a.onnx", metadata={"plan": "abc"})
    exported = onnx.load(path)
    assert [entry.version for entry in exported.opset_import] == [17]
    assert exported.ir_version <= 10
    shapes = [
        [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (exported.graph.input[0], exported.graph.output[0])
    ]
    assert shapes == [[1, 3, 64, 64], [1, 14, 84]]
    properties = {entry.key: entry.value for entry in exported.metadata_props}
    assert properties["plan"] == "abc"
    assert properties["task"] == "detect"
    assert "3: '3'" in properties["names"]
    assert [p.name for p in path.parent.iterdir()] == ["a.onnx"]
    again = task.export_onnx(narrow, tmp_path / "b.onnx", metadata={"plan": "abc"})
    assert again.read_bytes() == path.read_bytes()
    assert same(weights(narrow), before)
    assert not narrow.is_fused()
    assert check_parity(narrow, path, task.calibration_inputs(2)).max_rel < 1e-5


def test_unsimplified_file_becomes_the_same_runtime_graph(task, narrow, tmp_path):
    import onnxruntime

    def optimised(simplify):
        path = task.export_onnx(narrow, tmp_path / f"{simplify}.onnx", simplify=simplify)
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath, options.log_severity_level = str(path) + ".optimised", 4
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(options.optimized_model_filepath).graph.node
        return len(onnx.load(path).graph.node), Counter(node.op_type for node in nodes)

    (few, simplified), (many, plain) = optimised(True), optimised(False)
    assert few < many
    assert simplified == plain


def test_file_of_another_network_fails_parity(task, dense, tmp_path):
    other = deepcopy(dense)
    other.model[-1].cv2[0][-1].bias.data[0] += 1  # boxes move by part of a pixel
    path = task.export_onnx(other, tmp_path / "a.onnx")
    with pytest.raises(ExportError, match=r"a.onnx does not compute what the PyTorch module does"):
        check_parity(dense, path, task.calibration_inputs(1))


def test_segmentation_works_through_the_same_class(narrowing, tmp_path):
    data = write_digits("segment", tmp_path / "set", train=4, val=2, image_size=64)
    task = UltralyticsTask(data=data, task="segment", model="yolov8n-seg.yaml", image_size=64)
    narrow = narrowing.narrowed(task.build())
    tuned = task.finetune(narrow, tmp_path / "run", epochs=1)
    assert architecture(tuned) == architecture(narrow)
    path = task.export_onnx(tuned, tmp_path / "a.onnx")
    assert task.evaluate(path).name == "mask mAP50-95"
    check_parity(tuned, path, task.calibration_inputs(1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "depth"}, "unknown YOLO task 'depth'; choose one of: detect, segment, classify, pose, obb"),
        ({"image_size": 100}, "image_size is 100; it has to be a multiple of 32, such as 160 or 640"),
    ],
)
def test_wrong_settings(data, settings, message):
    with pytest.raises(InputError, match=message):
        UltralyticsTask(data=data, **settings)


def test_missing_files(tmp_path, task):
    with pytest.raises(InputError, match=r"no such data file: .*none.yaml; expected a YAML file"):
        UltralyticsTask(data=tmp_path / "none.yaml").build()
    with pytest.raises(InputError, match=r"no such file: .*none.pt; expected a YOLO .pt file"):
        task.load(tmp_path / "none.pt")
    with pytest.raises(InputError, match=r"no such file: .*none.onnx; expected an exported .onnx"):
        task.evaluate(tmp_path / "none.onnx")


def test_unknown_architecture(data):
    with pytest.raises(InputError, match=r"there is no YOLO architecture 'yolov99z.yaml'; try 'yolov8n.yaml'"):
        UltralyticsTask(data=data, model="yolov99z.yaml").build()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("names: [a]\n", "'train:' key missing"),
        ("train: nowhere\nval: nowhere\nnames: [a]\n", "images not found"),
        ("just words\n", "does not describe a data set"),
    ],
)
def test_data_that_is_none(tmp_path, text, reason):
    path = tmp_path / "data.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=reason) as caught:
        UltralyticsTask(data=path).build()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_class_count(task, tmp_path, data):
    (tmp_path / "data.yaml").write_text(f"path: {data.parent}\ntrain: images/train\nval: images/val\nnames: [a, b]\n")
    two = UltralyticsTask(data=tmp_path / "data.yaml", image_size=64)
    with pytest.raises(InputError, match=r"the network tells 2 classes apart and .*data.yaml has 10"):
        task.train(two.build(), tmp_path, epochs=1)


@pytest.mark.parametrize("damage", ["truncated", "empty", "state dict", "another module", "text"])
def test_files_that_are_no_yolo_network(task, narrow, tmp_path, damage):
    path = task.save(narrow, tmp_path / "a.pt")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:100_000])
    elif damage == "state dict":
        torch.save(narrow.state_dict(), path)
    elif damage == "another module":
        torch.save(torch.nn.Linear(1, 1), path)
    else:
        path.write_text("" if damage == "empty" else "not a network")
    with pytest.raises(InputError, match=r"a.pt is not a YOLO .pt file that Ultralytics can load") as caught:
        task.load(path)
    assert "\n" not in str(caught.value)


def test_a_task_at_a_lower_resolution_keeps_to_multiples_of_32(data):
    task = UltralyticsTask(data, image_size=160)
    assert [task.at_share(share).image_size for share in (0.75, 0.5, 0.1)] == [128, 64, 32]
    assert task.at_share(0.95) is None and UltralyticsTask(data, image_size=32).at_share(0.5) is None


def test_smaller_scales_of_an_architecture_are_built_untrained(data):
    assert UltralyticsTask(data, model="yolov8n.yaml").smaller() == {}
    smaller = UltralyticsTask(data, model="yolov8m.yaml", image_size=64).smaller()
    assert list(smaller) == ["yolov8s.yaml", "yolov8n.yaml"]
    network = smaller["yolov8n.yaml"]()
    assert sum(p.numel() for p in network.parameters()) < 4e6 and network.task == "detect"
    assert list(UltralyticsTask(data, task="segment", model="yolov8s-seg.yaml").smaller()) == ["yolov8n-seg.yaml"]


def test_a_network_made_by_the_name_of_its_architecture_can_be_exported_and_saved(tmp_path):
    network = api.build_network("detect", "yolov8n.yaml", 3, 0)
    assert network.task == "detect"
    task = UltralyticsTask(Path(), image_size=64)
    assert task.export_onnx(network, tmp_path / "net.onnx").stat().st_size > 1_000_000
    assert api.load_network(task.save(network, tmp_path / "net.pt")).task == "detect"
