"""Networks for classification by the names that torchvision and timm have for them."""

import difflib
import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deploy_prune.errors import InputError, MissingDependencyError

LIBRARIES = ("torchvision", "timm")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCHVISION_SIZE = 224  # pixels; at which nearly all of its weights were trained


class Classifier(nn.Module):
    """A library's network that takes pictures in [0, 1], and the names of the classes that it tells apart.

    Args:
        network: images (n, 3, H, W), normalised, to logits (n, classes).
        classes: their names in the order of the logits.
        mean: by which the network's images are normalised, per channel.
        std: likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, classes: Sequence[str], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network, self.classes = network, tuple(classes)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, H, W) in [0, 1] to logits (n, classes); auxiliary outputs of training are left out."""
        output = self.network((images - self.mean) / self.std)
        logits: Tensor = output if isinstance(output, Tensor) else output[0]
        return logits


def split_name(model: str) -> tuple[str, str]:
    """Split ``timm/convnext_atto`` into library and name.

    Raises:
        InputError: it is not of this form, or the library has no such network.
        MissingDependencyError: the library is not installed.
    """
    library, separator, name = model.partition("/")
    if library not in LIBRARIES or not (separator and name):
        raise InputError(f"unknown model {model!r} for classification; expected torchvision/NAME or timm/NAME")
    known = list_names(library)
    if name.partition(".")[0] not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {library}/{near[0]}?" if near else "see its list_models()"
        raise InputError(f"{library} has no model {name!r} for classification; {hint}")
    return library, name


def list_names(library: str) -> list[str]:
    """The names of a library's classifiers."""
    if library == "timm":
        return list(_open("timm").list_models())
    models = _open("torchvision").models
    return list(models.list_models(module=models))


def native_size(model: str) -> int:
    """The side in pixels of the images that a network was made for."""
    library, name = split_name(model)
    if library == "torchvision":
        return TORCHVISION_SIZE
    return int(_open("timm").get_pretrained_cfg(name).input_size[-1])


def build_classifier(model: str, classes: Sequence[str], image_size: int, pretrained: bool) -> Classifier:
    """Return a network with logits for ``classes``; with ``pretrained`` it has the library's weights, else random ones.

    The library downloads its weights if they are not in its cache. Where they are for another number of classes, the
    last layer is random.

    Raises:
        InputError: there is no such network, it has no weights, or it cannot take such images.
    """
    library, name = split_name(model)
    make = _make_timm if library == "timm" else _make_torchvision
    try:
        network, mean, std = make(name, len(classes), image_size, pretrained)
        built = Classifier(network, classes, mean, std).eval()
        with torch.no_grad():
            built(torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{model} cannot be built for images of {image_size} pixels: {reason}") from error
    return built


def _make_torchvision(name: str, classes: int, size: int, pretrained: bool) -> tuple[nn.Module, Any, Any]:
    models = _open("torchvision").models
    sized = {"image_size": size} if name.startswith("vit_") else {}
    network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **sized)
    if pretrained:
        given, own = models.get_model_weights(name).DEFAULT.get_state_dict(), network.state_dict()
        fitting = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
        network.load_state_dict(fitting, strict=False)
    return network, IMAGENET_MEAN, IMAGENET_STD


def _make_timm(name: str, classes: int, size: int, pretrained: bool) -> tuple[nn.Module, Any, Any]:
    timm = _open("timm")
    try:  # transformers are built for one size; others do not know the word
        network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=classes, img_size=size)
    except TypeError:
        network = timm.create_model(name, pretrained=pretrained, num_classes=classes)
    config = timm.data.resolve_model_data_config(network)
    return network, config["mean"], config["std"]


def _open(library: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise MissingDependencyError(f"{library} is not installed; run: pip install 'deploy_prune[vision]'") from error
