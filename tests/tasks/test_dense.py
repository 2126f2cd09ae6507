"""Tasks of dense prediction: real trainings of seconds on the embedded digits, files, and what is refused."""

from dataclasses import replace

import pytest
import torch
import torchvision

import deploy_prune as tp
from deploy_prune.datasets import write_digits
from deploy_prune.datasets.image_masks import VOID
from deploy_prune.errors import InputError
from deploy_prune.tasks.dense import load_fitting
from deploy_prune.tasks.dense_data import Augmentation
from deploy_prune.tasks.detection import DetectionTask, InstanceTask
from deploy_prune.tasks.fit_settings import FitSettings
from deploy_prune.tasks.semantic import SemanticTask

SIZE = 64
LRASPP, SSDLITE = "torchvision/lraspp_mobilenet_v3_large", "torchvision/ssdlite320_mobilenet_v3_large"
QUICK = FitSettings(lr0=2e-3, batch=4, warmup_epochs=0.0, ema_decay=0.0)


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    return write_digits("semantic", tmp_path_factory.mktemp("semantic") / "set", train=8, val=4, image_size=SIZE)


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_digits("coco", tmp_path_factory.mktemp("coco") / "set", train=8, val=4, image_size=SIZE)


@pytest.fixture(scope="module")
def semantic(masks):
    return SemanticTask(masks, LRASPP, image_size=SIZE, training=QUICK, finetuning=QUICK)


@pytest.fixture(scope="module")
def detect(coco):
    return DetectionTask(coco, SSDLITE, image_size=SIZE, training=QUICK, finetuning=QUICK)


@pytest.fixture(scope="module")
def trained(semantic, detect, tmp_path_factory):
    """Six epochs of eight pictures: not good, but no longer the same everywhere."""
    folder = tmp_path_factory.mktemp("trained")
    return {
        task.name: (task, task.build(), task.train(task.build(), folder / task.name, epochs=6))
        for task in (semantic, detect)
    }


@pytest.mark.parametrize("name", ["semantic", "detect"])
def test_training_lowers_the_loss(name, trained):
    task, before, after = trained[name]
    batch = task.calibration_batches(8, 8)[0]
    assert not after.training
    assert task.loss(after.train(), batch) < 0.8 * task.loss(before.train(), batch)
    after.eval(), before.eval()


@pytest.mark.parametrize("name", ["semantic", "detect"])
def test_the_exported_file_scores_as_the_module_does(name, trained, tmp_path):
    task, _, model = trained[name]
    path = task.export_onnx(model, tmp_path / "model.onnx", metadata={"plan": "none"})
    module, file = task.evaluate(model), task.evaluate(path)
    assert module.name == file.name == task.metric_name
    assert 0 <= module.value <= 1
    assert abs(module.value - file.value) < 0.005  # half a point
    assert not model.training


def perfect(task):
    """What would be predicted by a network that knows the labels."""
    images, labels = zip(*(task.samples("val", False)[i] for i in range(4)), strict=True)
    position = iter(range(4))

    def predict(batch):
        found = [labels[next(position)] for _ in batch]
        assert torch.equal(batch, torch.stack(images))
        if task.name == "semantic":
            return torch.nn.functional.one_hot(torch.stack(found), 11).movedim(3, 1).float()
        most = max(len(one["labels"]) for one in found)
        boxes, scores, drawn = torch.zeros(4, most, 4), torch.zeros(4, most, 10), torch.zeros(4, most, 28, 28)
        for i, one in enumerate(found):
            for k, (box, label) in enumerate(zip(one["boxes"], one["labels"], strict=True)):
                boxes[i, k], scores[i, k, label] = box, 1.0
                if "masks" in one:
                    x0, y0, x1, y1 = box.int().tolist()
                    cut = one["masks"][k, y0:y1, x0:x1][None, None].float()
                    drawn[i, k] = torch.nn.functional.interpolate(cut, (28, 28), mode="bilinear")[0, 0]
        return (boxes, scores, drawn) if task.name == "segment" else (boxes, scores)

    return predict


def test_predictions_that_are_the_labels_score_one(semantic, detect):
    assert semantic.score(perfect(semantic)) == pytest.approx(1.0)
    assert detect.score(perfect(detect)) == pytest.approx(1.0)


def test_masks_that_are_the_labels_score_well(coco):
    task = InstanceTask(coco, "torchvision/maskrcnn_resnet50_fpn", image_size=SIZE)
    assert task.score(perfect(task)) > 0.6  # 28 x 28 probabilities are coarser than the objects


def test_a_network_comes_back_from_its_file_and_names_what_it_cannot_be(trained, coco, tmp_path):
    task, _, model = trained["detect"]
    path = task.save(model, tmp_path / "model.pt")
    again = task.load(path)
    image = task.example_inputs()
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(image).values(), again(image).values(), strict=True))
    assert replace(task, weights=str(path)).build().classes == tuple("0123456789")
    with pytest.raises(InputError, match=r"model.pt holds no network for segment; expected"):
        InstanceTask(coco, "torchvision/maskrcnn_resnet50_fpn", image_size=SIZE).load(path)
    model.classes = ("cat", "dog")
    try:
        with pytest.raises(InputError, match=r"tells 2 classes apart \(cat, dog\), and .* has 10 \(0, 1, 2"):
            task.train(model, tmp_path / "run", epochs=1)
    finally:
        model.classes = tuple("0123456789")


def test_weights_for_other_classes_are_taken_where_they_fit(semantic, trained):
    other = torchvision.models.get_model("lraspp_mobilenet_v3_large", weights_backbone=None, num_classes=21)
    network = semantic.build().network
    left = load_fitting(network, other.state_dict())
    assert sorted({name.rpartition(".")[0] for name in left}) == [
        "classifier.high_classifier",
        "classifier.low_classifier",
    ]
    assert torch.equal(network.backbone["0"][0].weight, other.backbone["0"][0].weight)


def test_finetuning_learns_from_a_teacher_where_there_is_one(trained, tmp_path):
    task, fresh, teacher = trained["semantic"]
    taught = task.finetune(fresh, tmp_path / "a", epochs=1, teacher=teacher)
    alone = task.finetune(fresh, tmp_path / "b", epochs=1)
    assert any(not torch.equal(a, b) for a, b in zip(taught.parameters(), alone.parameters(), strict=True))
    task, fresh, teacher = trained["detect"]
    with pytest.raises(InputError, match="the task detect has no distillation"):
        task.finetune(fresh, tmp_path / "c", epochs=1, teacher=teacher)


def test_the_distance_to_an_equal_teacher_is_nothing(trained):
    task, _, model = trained["semantic"]
    batch = task.calibration_batches(2, 2)[0]
    assert task.distilled_loss(model, model, batch).item() == pytest.approx(task.loss(model, batch).item() / 2)


def test_the_auxiliary_head_learns_but_costs_nothing_afterwards(masks):
    task = SemanticTask(masks, "torchvision/deeplabv3_mobilenet_v3_large", image_size=SIZE)
    model, images = task.build(), task.calibration_inputs(2)
    with torch.no_grad():
        assert model(images).shape == (2, 11, SIZE, SIZE)
        assert model.train()(images).keys() == {"out", "aux"}
    batch = images, torch.zeros(2, SIZE, SIZE, dtype=torch.long)
    task.loss(model, batch).backward()
    assert all(parameter.grad is not None for parameter in model.network.aux_classifier.parameters())
    model.eval()  # the auxiliary head runs in train mode only, and is found all the same
    pruner = tp.pruner.MagnitudePruner(model, images[:1], tp.importance.MagnitudeImportance(p=2), pruning_ratio=0.5)
    pruner.step()
    assert model.network.aux_classifier[0].in_channels < 40  # it was 40
    assert model.train()(images)["aux"].shape == (2, 11, SIZE, SIZE)


def test_void_pixels_have_no_loss(semantic):
    model = semantic.build()
    images, labels = semantic.calibration_batches(1, 1)[0]
    half = labels.clone()
    half[:, : SIZE // 2] = VOID
    with torch.no_grad():
        logits = model(images).log_softmax(1).gather(1, labels[:, None])[:, 0]
    expected = -logits[:, SIZE // 2 :].mean()
    assert semantic.loss(model, (images, half)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_pictures_and_labels_move_together(coco, masks):
    change = Augmentation(scale=0.3, translate=0.2, fliplr=1.0, hsv_h=0, hsv_s=0, hsv_v=0)
    task = InstanceTask(coco, "torchvision/maskrcnn_resnet50_fpn", image_size=SIZE, augmentation=change)
    torch.manual_seed(0)
    data = task.samples("train", True)
    for index in range(8):
        image, target = data[index]
        assert image.shape == (3, SIZE, SIZE) and image.min() >= 0 and image.max() <= 1
        for box, mask in zip(target["boxes"], target["masks"], strict=True):
            rows, columns = torch.nonzero(mask.any(1))[:, 0], torch.nonzero(mask.any(0))[:, 0]
            tight = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            assert (box - tight).abs().max() <= 2
    semantic = SemanticTask(masks, LRASPP, image_size=SIZE, augmentation=replace(change, scale=0.9))
    _, labels = semantic.samples("train", True)[0]
    assert set(labels.unique().tolist()) <= {*range(11), VOID}


def test_calibration_pictures_are_spread_over_the_set_and_keep_their_labels(detect):
    batches = detect.calibration_batches(3, 2)
    assert [len(images) for images, _ in batches] == [2, 1]
    assert torch.equal(batches[1][0][0], detect.samples("train", False)[5][0])
    assert torch.equal(batches[1][1][0]["boxes"], detect.samples("train", False)[5][1]["boxes"])
    with pytest.raises(InputError, match="9 training samples are asked for, and there are 8"):
        detect.calibration_inputs(9)


def test_smaller_inputs_and_networks(semantic, detect, masks):
    assert replace(semantic, image_size=128).at_share(0.7).image_size == 96
    assert semantic.at_share(0.99) is None
    large = SemanticTask(masks, "torchvision/deeplabv3_resnet50", image_size=SIZE)
    assert list(large.smaller()) == ["deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"]
    assert detect.smaller() == {}


REFUSED = [
    ({"model": "torchvision/deeplabv3_mobilenet_v3_larg"}, "did you mean torchvision/deeplabv3_mobilenet_v3_large?"),
    ({"model": "torchvision/resnet18"}, "unknown model 'torchvision/resnet18' for semantic"),
    ({"image_size": 100}, "image_size is 100; it has to be a multiple of 32"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_cannot_be_is_refused_at_once(change, message, semantic):
    with pytest.raises(InputError) as caught:
        replace(semantic, **change)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_network_that_needs_larger_images_says_so(coco):
    task = DetectionTask(coco, "torchvision/ssd300_vgg16", image_size=SIZE)
    with pytest.raises(InputError, match="ssd300_vgg16 cannot take images of 64 pixels"):
        task.build()


def test_damaged_data_stop_the_run_before_any_training(tmp_path):
    folder = write_digits("coco", tmp_path / "set", train=4, val=2, image_size=SIZE)
    task = DetectionTask(folder, SSDLITE, image_size=SIZE, training=QUICK)
    model = task.build()
    picture = folder / "images" / "val" / "00001.jpg"
    picture.write_bytes(picture.read_bytes()[:900])
    with pytest.raises(InputError, match=r"00001\.jpg cannot be decoded"):
        task.train(model, tmp_path / "run", epochs=1)
    assert not (tmp_path / "run").exists()
