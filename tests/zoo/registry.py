"""All families of the zoo and the packages that they need."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
from functools import cache

FAMILIES = {
    "torchvision-classification": "torchvision.models",
    "torchvision-segmentation": "torchvision.models",
    "torchvision-detection": "torchvision.models",
    "torchvision-video": "torchvision.models",
    "timm": "timm",
    "ultralytics": "ultralytics.models",
    "transformers": "transformers.modeling_utils",
    "diffusers": "diffusers.models.modeling_utils",
}
"""Family -> the module that holds most of what its models import."""


def package(family):
    """The package that a family's models come from."""
    return FAMILIES[family].partition(".")[0]


def available(family):
    """Whether a family's package is installed."""
    return importlib.util.find_spec(package(family)) is not None


@cache
def entries(family):
    """The family's models; its module is imported only now."""
    module = importlib.import_module(f"zoo.{family.split('-')[0]}_models")
    return [entry for entry in module.entries() if entry.family == family]


def find(family, name):
    """The entry of this name."""
    found = next((e for e in entries(family) if e.name == name), None)
    if found is None:
        raise KeyError(f"no model {name!r} in {family}; there are {', '.join(e.name for e in entries(family)[:8])}, …")
    return found


def versions(tool):
    """Versions of everything that the zoo takes its models from, and of the tool."""
    packages = {"torch", *map(package, FAMILIES)}
    packages.add("deploy_prune" if tool == "ours" else tool)
    found = {}
    for name in sorted(packages):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
