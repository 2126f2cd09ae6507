"""Classification by torchvision and timm on real digits: what is learned, scored, exported, and refused."""

import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

from deploy_prune.datasets import write_digits
from deploy_prune.errors import InputError
from deploy_prune.export.parity import check_parity
from deploy_prune.tasks.classification import ClassificationTask
from deploy_prune.tasks.classifiers import Classifier, build_classifier
from deploy_prune.tasks.fit_settings import FitSettings

SIZE = 32
QUICK = FitSettings(batch=20, lr0=2e-3, warmup_epochs=1)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Plain enlarged digits, which a network learns in seconds."""
    return write_digits("digits", tmp_path_factory.mktemp("plain") / "set", train=200, val=100, image_size=SIZE)


@pytest.fixture(scope="module")
def task(digits):
    return ClassificationTask(digits, "torchvision/mobilenet_v3_small", image_size=SIZE, training=QUICK)


@pytest.fixture(scope="module")
def simple(digits):
    """A task with the smallest of timm's ResNets, and that network, trained."""
    task = ClassificationTask(digits, "timm/resnet10t", image_size=SIZE, training=QUICK, finetuning=QUICK)
    return task, task.build()


def test_a_network_learns_and_its_file_scores_the_same(simple, tmp_path):
    task, untrained = simple
    trained = task.train(untrained, tmp_path / "work", epochs=3)
    before, after = task.evaluate(untrained), task.evaluate(trained)
    assert after.name == "top-1 accuracy" and before.value < 0.3 and after.value > 0.6
    file = task.export_onnx(trained, tmp_path / "net.onnx", metadata={"profile": "here"})
    assert task.evaluate(file).value == pytest.approx(after.value, abs=0.011)  # one picture of a hundred
    check_parity(trained, file, task.calibration_inputs(4))
    loaded = task.load(task.save(trained, tmp_path / "net.pt"))
    assert torch.equal(loaded(task.example_inputs()), trained(task.example_inputs()))
    assert isinstance(loaded, Classifier) and loaded.classes == tuple("0123456789")


@pytest.mark.parametrize("model", ["torchvision/resnet18", "timm/convnext_atto", "torchvision/googlenet"])
def test_networks_of_both_libraries_have_a_loss_with_gradients(digits, model):
    task = ClassificationTask(digits, model, image_size=64)
    built = task.build().train()
    loss = task.loss(built, task.calibration_batches(4, 4)[0])
    loss.backward()
    assert loss.item() == pytest.approx(2.3, abs=2.5)
    assert sum(float(p.grad.abs().sum()) for p in built.parameters() if p.grad is not None) > 0


def test_the_same_seed_gives_the_same_network_and_leaves_the_generator_alone(task):
    state = torch.get_rng_state()
    one, other, third = task.build(), task.build(), replace(task, seed=1).build()
    assert torch.equal(state, torch.get_rng_state())
    first = [next(iter(model.parameters())) for model in (one, other, third)]
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])


def test_calibration_images_are_the_training_pictures_spread_evenly(task):
    images, labels = task.calibration_batches(10, 10)[0]
    assert images.shape == (10, 3, SIZE, SIZE) and images.min() >= 0 and images.max() <= 1
    assert labels.tolist() == list(range(10))  # listed class by class, twenty each
    assert torch.equal(task.calibration_inputs(10), images)
    assert [len(batch[1]) for batch in task.calibration_batches(5, 2)] == [2, 2, 1]
    with pytest.raises(InputError, match="201 training samples are asked for, and there are 200"):
        task.calibration_batches(201, 8)


def test_the_network_sees_normalised_pictures():
    net = Classifier(nn.Flatten(), ("a", "b"), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    images = torch.tensor([1.0, 1.0, 1.0]).view(1, 3, 1, 1)
    assert net(images).tolist() == [[1.0, 3.0, 1.0]]


def test_timm_says_how_its_networks_are_normalised():
    built = build_classifier("timm/mixer_s32_224", ("a", "b"), 224, False)
    assert built.mean.flatten().tolist() == [0.5, 0.5, 0.5]


def test_the_teacher_is_mixed_in_as_written_down(task):
    """Two logits by hand: with the teacher's own logits the divergence is zero, and half the cross-entropy stays."""
    logits = torch.tensor([[1.0, -1.0]])

    class Fixed(nn.Module):
        def __init__(self, out):
            super().__init__()
            self.out = nn.Parameter(out)

        def forward(self, images):
            return self.out

    batch = (torch.zeros(1, 3, 1, 1), torch.tensor([0]))
    entropy = torch.log(1 + torch.exp(torch.tensor(-2.0)))
    student, same = Fixed(logits), Fixed(logits)
    assert task.distilled_loss(student, same, batch).item() == pytest.approx(float(entropy) / 2)
    # A teacher of equal logits: p = (1/2, 1/2); q = softmax((1/4, -1/4)); sum p log(p / q) times 16.
    q = torch.softmax(torch.tensor([0.25, -0.25]), 0)
    divergence = float((0.5 * (torch.log(torch.tensor(0.5)) - torch.log(q))).sum())
    expected = float(entropy) / 2 + 0.5 * 16 * divergence
    assert task.distilled_loss(student, Fixed(torch.zeros(1, 2)), batch).item() == pytest.approx(expected)


def test_finetuning_with_a_teacher_changes_neither_and_can_go_on(simple, tmp_path):
    task, model = simple
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tuned = task.finetune(model, tmp_path / "work", epochs=1, teacher=model)
    again = task.finetune(model, tmp_path / "work", epochs=1, teacher=model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in tuned.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_smaller_inputs_are_multiples_of_32_where_the_network_takes_them(digits):
    task = ClassificationTask(digits, "torchvision/resnet18", image_size=96)
    assert task.at_share(0.7).image_size == 64 and task.at_share(1.0) is None
    assert ClassificationTask(digits, "torchvision/vit_b_16", image_size=96).at_share(0.7) is None


def test_without_a_size_the_network_has_its_own(digits):
    assert ClassificationTask(digits, "timm/convnext_atto").example_inputs().shape == (1, 3, 224, 224)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("torchvision/resnet19", "torchvision has no model 'resnet19' for classification; did you mean torchvision/"),
        ("torchvision/fasterrcnn_resnet50_fpn", "for classification"),
        ("timm/convnext_ato", "did you mean timm/convnext_at"),
        ("resnet18", "expected torchvision/NAME or timm/NAME"),
        ("torchvision/inception_v3", "torchvision/inception_v3 cannot be built for images of 32 pixels"),
    ],
)
def test_models_that_are_none_are_refused(digits, model, message):
    with pytest.raises(InputError, match=message):
        ClassificationTask(digits, model, image_size=SIZE).build()


@pytest.fixture
def broken(digits, tmp_path):
    return shutil.copytree(digits, tmp_path / "set")


def refusal(folder):
    task = ClassificationTask(folder, "timm/resnet10t", image_size=SIZE, training=QUICK)
    with pytest.raises(InputError) as error:
        task.train(task.build(), folder.parent / "work", epochs=1)
    assert not (folder.parent / "work").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_split_is_refused(broken):
    shutil.rmtree(broken / "val")
    assert refusal(broken) == f"no folder {broken}/val; expected {broken}/val/CLASS/picture.jpg for each class"


def test_an_empty_split_is_refused(broken):
    for folder in (broken / "val").iterdir():
        shutil.rmtree(folder)
    assert "val is empty: it has no class folders" in refusal(broken)


def test_a_class_without_pictures_is_refused(broken):
    for picture in (broken / "train" / "3").iterdir():
        picture.unlink()
    assert f"{broken}/train/3 has no pictures; expected files such as .jpg" in refusal(broken)


def test_splits_of_unlike_classes_are_refused(broken):
    (broken / "val" / "7").rename(broken / "val" / "seven")
    assert f"{broken}/train has a class '7' and {broken}/val has none of that name" in refusal(broken)


def test_one_class_is_refused(broken):
    for split in ("train", "val"):
        for label in range(1, 10):
            shutil.rmtree(broken / split / str(label))
    assert "train has one class, '0'; expected two or more" in refusal(broken)


@pytest.mark.parametrize(("damage", "said"), [("cut", "cannot be decoded ("), ("text", "is no picture")])
def test_a_damaged_picture_is_named(broken, damage, said):
    from PIL import Image

    picture = broken / "val" / "5" / "bad.jpg"
    Image.effect_noise((64, 64), 50).save(picture)
    content = picture.read_bytes()
    picture.write_bytes(content[: len(content) // 2] if damage == "cut" else b"no picture")
    assert refusal(broken).startswith(f"{picture} {said}")


def test_a_network_of_other_classes_is_refused(simple, broken, tmp_path):
    task, model = simple
    file = task.save(model, tmp_path / "ten.pt")
    for split in ("train", "val"):
        shutil.rmtree(broken / split / "9")
    nine = ClassificationTask(broken, "timm/resnet10t", weights=str(file), image_size=SIZE)
    with pytest.raises(InputError, match=r"ten\.pt tells 10 classes apart .*, and .* has 9 .*expected the same names"):
        nine.build()
    exported = task.export_onnx(model, tmp_path / "ten.onnx")
    with pytest.raises(InputError, match="the model has 10 classes, the data 9"):
        nine.evaluate(exported)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"junk", "cannot be read"), ({"a": 1}, "holds no network for classify")],
)
def test_files_that_hold_no_network_are_refused(task, tmp_path, content, message):
    path = tmp_path / "net.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=message):
        task.load(path)


def test_a_missing_onnx_file_is_refused(task, tmp_path):
    with pytest.raises(InputError, match=r"no such file: .*; expected an exported \.onnx"):
        task.evaluate(tmp_path / "none.onnx")


@pytest.mark.parametrize("model", ["torchvision/mobilenet_v2", "timm/convnext_atto"])
def test_a_pruned_network_trains_and_is_exported(digits, tmp_path, model):
    """What the recipes of the repository prune; a third of the channels goes."""
    import deploy_prune

    task = ClassificationTask(digits, model, image_size=64, finetuning=replace(QUICK, batch=100))
    pruned = task.build()
    before = sum(parameter.numel() for parameter in pruned.parameters())
    pruner = deploy_prune.pruner.MagnitudePruner(
        pruned,
        task.example_inputs(),
        importance=deploy_prune.importance.MagnitudeImportance(),
        pruning_ratio=1 / 3,
    )
    pruner.step()
    left = sum(parameter.numel() for parameter in pruned.parameters())
    assert left < 0.6 * before
    tuned = task.finetune(pruned, tmp_path / "work", epochs=1)
    assert sum(parameter.numel() for parameter in tuned.parameters()) == left
    file = task.export_onnx(tuned, tmp_path / "net.onnx")
    check_parity(tuned, file, task.calibration_inputs(2))
    assert task.evaluate(file).value == pytest.approx(task.evaluate(tuned).value, abs=0.011)
