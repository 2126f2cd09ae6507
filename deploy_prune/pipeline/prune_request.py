"""What ``deploy-prune prune`` is asked: a named model, budgets and how to search; checked before anything is spent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from deploy_prune.datasets.calibration import read_calibration
from deploy_prune.errors import InputError
from deploy_prune.hardware.availability import require_searchable
from deploy_prune.hardware.profile import HardwareProfile
from deploy_prune.importance.calibration import Calibration
from deploy_prune.importance.gradients import needs_gradients
from deploy_prune.importance.named import criterion_named
from deploy_prune.pipeline.latency_budget import Budget
from deploy_prune.pipeline.latency_search import Subject
from deploy_prune.pipeline.named_model import NamedModel, load_model
from deploy_prune.pipeline.precise_export import precise_export
from deploy_prune.pipeline.settings import device_facts
from deploy_prune.runtime.hosts import find_host


@dataclass(frozen=True)
class PruneRequest:
    """The arguments of a call.

    Attributes:
        source: the model, as in :func:`~deploy_prune.pipeline.named_model.load_model`.
        budgets: one or several.
        profile: the device.
        image_size: side of the input in pixels; None: what suits the model.
        task: of a YOLO architecture.
        calibration: a folder of pictures, or an array (``datasets.calibration``); None: widths cost the importance
            that they remove.
        importance: name of the criterion by which units are ranked within their group (``importance.named``).
        remove_branches: whether whole residual branches may go.
        also: further devices; the plan of a budget keeps that budget on each of them too.
    """

    source: str
    budgets: tuple[Budget, ...]
    profile: HardwareProfile
    image_size: int | None = None
    task: str = "detect"
    calibration: Path | None = None
    importance: str = "l2"
    remove_branches: bool = False
    also: tuple[HardwareProfile, ...] = ()

    def open(self) -> PruneSubject:
        """Load the model and the calibration data.

        Raises:
            InputError: there is no such model or data, or the profile cannot be searched under here.
            MissingDependencyError: a package that has the model or the pictures is not installed.
        """
        if needs_gradients(criterion_named(self.importance)) and self.calibration is None:
            raise InputError(
                f"importance {self.importance} needs gradients on real inputs: give --calibration, or choose l1 or l2"
            )
        names = [profile.name for profile in (self.profile, *self.also)]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"the profile {name!r} is given {names.count(name)} times; give each once")
        for profile in (self.profile, *self.also):
            require_searchable(profile, find_host(profile))
        if self.profile.file_precision == "int8" and self.calibration is None:
            raise InputError(
                f"the profile {self.profile.name!r} is in int8, whose ranges need real inputs: give --calibration"
            )
        named = load_model(self.source, image_size=self.image_size, task=self.task)
        if not isinstance(named.inputs, torch.Tensor):
            kind = type(named.inputs).__name__
            raise InputError(
                f"{self.source} takes a {kind}; only models of one tensor can be exported and measured yet"
            )
        data = None
        if self.calibration is not None:
            data = torch.from_numpy(read_calibration(self.calibration, named.inputs.shape[1:]))
        return PruneSubject(self, named, data)


@dataclass(frozen=True, eq=False)
class PruneSubject:
    """The model and the calibration data of a request, loaded; ``calibration`` is (n, …) or None."""

    request: PruneRequest
    named: NamedModel
    calibration: torch.Tensor | None

    @property
    def module(self) -> nn.Module:
        """The dense model."""
        return self.named.module

    def export(self, module: nn.Module, path: Path) -> Path:
        """Write the model or a pruned one as an ONNX file in the precision of the profile's files."""
        data = self.calibration if self.calibration is not None else self.named.inputs
        return precise_export(self.named.export, self.request.profile, lambda: data)(module, path)

    def search_subject(self) -> Subject:
        """The same as the search takes it."""
        transform = self.named.kept_output
        data = None if self.calibration is None else Calibration.of(self.calibration, output_transform=transform)
        return Subject(
            self.named.module,
            self.named.inputs,
            self.export,
            importance=criterion_named(self.request.importance),
            calibration=data,
            output_transform=transform,
            remove_branches=self.request.remove_branches,
        )

    def facts(self) -> dict[str, object]:
        """What stages depend on, by name; a stage is redone when a fact that it reads has changed."""
        request = self.request
        tensors = dict((*self.module.named_parameters(), *self.module.named_buffers()))
        data = None if self.calibration is None else _digest({"": self.calibration})
        devices = [device_facts(one, find_host(one).machine) for one in (request.profile, *request.also)]
        return {
            "model": [request.source, list(self.named.inputs.shape), _digest(tensors)],
            "device": [*devices[0], *devices[1:]],
            "search": [request.importance, request.remove_branches, data],
            **{budget.name: budget.name for budget in request.budgets},
        }


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    """sha256 over names, shapes and content."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        array = np.ascontiguousarray(tensor.detach().cpu().float().numpy())
        digest.update(repr((name, array.shape)).encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
