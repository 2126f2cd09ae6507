"""A task of plain PyTorch: what to write for one's own network and data, and all that follows from it.

A subclass says what the network is, what the data are, what is lost and how it is scored; training, distillation,
calibration, export and files are here. ``docs/tasks.md`` has an example.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import default_collate

from deploy_prune.artifact.usage import Postprocessing, Preprocessing
from deploy_prune.errors import InputError
from deploy_prune.export.onnx import export_onnx
from deploy_prune.tasks.attention_transfer import Watched, find_stages
from deploy_prune.tasks.batches import TrainingBatches, seeded
from deploy_prune.tasks.distillation import Distillation
from deploy_prune.tasks.fit import Fit
from deploy_prune.tasks.fit_settings import FitSettings
from deploy_prune.tasks.predict import Predict, predictor
from deploy_prune.tasks.resume import run_key
from deploy_prune.tasks.task import Metric, Regularizer, Task
from deploy_prune.tasks.usage import Usage, UsageSample, spread

FORMAT = "deploy_prune.module"  # of the files that save() writes


class TorchTask(ABC):
    """A network's purpose together with its data; the methods that are not described here are ``tasks.task.Task``'s.

    To be written: :meth:`network`, :meth:`samples`, :meth:`loss`, :meth:`score`. May be written anew:
    :meth:`usage`, :meth:`distilled_loss`, :meth:`collate`, :meth:`at_share`, :meth:`smaller`, :meth:`check_data`,
    :meth:`check_network`, :meth:`about` and the attributes.

    Attributes:
        name: what is done, in one word.
        metric_name: what :meth:`score` returns; a fraction, larger is better.
        seed: of first weights, order of samples and augmentation.
        training: settings for the dense network.
        finetuning: settings for the pruned one.
        distillation: how the dense network teaches the pruned one.
    """

    name: str = "custom"
    metric_name: str = "score"
    seed: int = 0
    training: FitSettings = FitSettings()
    finetuning: FitSettings = replace(FitSettings(), lr0=1e-3)
    distillation: Distillation = Distillation()

    @abstractmethod
    def network(self) -> nn.Module:
        """Return the untrained network; PyTorch's generator is seeded."""

    @abstractmethod
    def samples(self, split: str, augmented: bool) -> Any:
        """Return the data of ``split``, "train" or "val": an object with ``len`` and ``[i]``.

        A sample is a pair (input, target); inputs are tensors of one shape. What is random in ``[i]`` takes the
        generators of Python, NumPy or PyTorch, which are seeded for each sample.
        """

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the mean loss per sample of a batch, a pair (inputs (n, ...), targets)."""

    @abstractmethod
    def score(self, predict: Predict) -> float:
        """Return the score on the validation data; ``predict`` maps inputs (n, ...) to outputs, on the CPU."""

    def distilled_loss(self, model: nn.Module, teacher: nn.Module, batch: Any) -> Tensor:
        """Return the loss with the dense network as teacher, which is in eval mode, on the batch's device."""
        raise InputError(f"the task {self.name} has no distillation; set finetune.distil to false")

    def collate(self, samples: list[Any]) -> Any:
        """Return a batch of samples: tensors are stacked."""
        return default_collate(samples)

    def at_share(self, share: float) -> Task | None:
        """Return None: nothing is known of other input sizes."""
        return None

    def smaller(self) -> Mapping[str, Callable[[], nn.Module]]:
        """Return nothing: no smaller networks of the family are known."""
        return {}

    def check_data(self, progress: Progress | None) -> None:  # noqa: B027 - most data are checked as they are opened
        """Raise InputError for data that cannot be trained on; called before every training."""

    def check_network(self, model: nn.Module, source: str) -> None:  # noqa: B027 - a network of one's own fits
        """Raise InputError if ``model``, which comes from ``source``, does not fit the data."""

    def about(self) -> Any:
        """Return what the result of a training depends on beside settings and weights; a change of it begins anew."""
        return None

    def build(self) -> nn.Module:
        """Return the untrained network, the same one for the same seed."""
        with seeded(self.seed):
            return self.network().eval()

    def example_inputs(self) -> Tensor:
        """Return the first training input, of shape (1, ...)."""
        return self.calibration_inputs(1)

    def kept_output(self, output: Any) -> Any:
        """Return all of the output."""
        return output

    def train(self, model: nn.Module, out_dir: Path, *, epochs: int, progress: Progress | None = None) -> nn.Module:
        """Return a trained copy of ``model``: the average of its weights over the last steps."""
        return self._fit(model, out_dir, epochs, self.training, None, progress)

    def finetune(
        self,
        model: nn.Module,
        out_dir: Path,
        *,
        epochs: int,
        teacher: nn.Module | None = None,
        regularizer: Regularizer | None = None,
        progress: Progress | None = None,
    ) -> nn.Module:
        """Return a retrained copy of ``model``; it learns from ``teacher`` too, if there is one."""
        return self._fit(model, out_dir, epochs, self.finetuning, teacher, progress, regularizer)

    def evaluate(self, model: nn.Module | Path) -> Metric:
        """Return the score of a module, or of an exported file on the CPU, on the validation data."""
        return Metric(self.metric_name, self.score(predictor(model)))

    def training_images(self) -> int:
        """Return the number of training samples."""
        return len(self.samples("train", False))

    def calibration_inputs(self, n: int) -> Tensor:
        """Return ``n`` training inputs, spread evenly over the set, of shape (n, ...)."""
        inputs: Tensor = self.calibration_batches(n, n)[0][0]
        return inputs

    def calibration_batches(self, n: int, size: int) -> Sequence[Any]:
        """Return the inputs of :meth:`calibration_inputs` with their targets, ``size`` to a batch."""
        data = self.samples("train", False)
        if not 1 <= n <= len(data):
            raise InputError(f"{n} training samples are asked for, and there are {len(data)}; ask for 1 to {len(data)}")
        chosen = [data[i * len(data) // n] for i in range(n)]
        return [self.collate(chosen[start : start + size]) for start in range(0, n, size)]

    def export_onnx(
        self,
        model: nn.Module,
        path: Path,
        *,
        metadata: Mapping[str, str] | None = None,
        simplify: bool = True,
        dynamic: bool = False,
    ) -> Path:
        """Write ``model`` as one ONNX file that takes inputs of shape (1, ...), or with ``dynamic`` of others too."""
        return export_onnx(model, self.example_inputs(), path, metadata=metadata, simplify=simplify, dynamic=dynamic)

    def usage(self, n: int) -> Usage:
        """Return validation inputs as arrays: what outputs mean is not known here."""
        data = self.samples("val", False)
        inputs = [self.collate([data[i]])[0] for i in spread(len(data), n)]
        shape = tuple(self.example_inputs().shape)
        samples = tuple(UsageSample(one) for one in inputs)
        return Usage((), Preprocessing(kind="array", shape=shape), Postprocessing(kind="raw"), samples)

    def save(self, model: nn.Module, path: Path) -> Path:
        """Write the module as ``torch.load(path, weights_only=False)["model"]`` gives it back, in float32."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        torch.save({"format": FORMAT, "task": self.name, "model": deepcopy(model).cpu().float().eval()}, temporary)
        return temporary.replace(path)

    def load(self, path: Path) -> nn.Module:
        """Return the module in a file of :meth:`save`, in eval mode. It is a pickle: open only files that you trust.

        Raises:
            InputError: the file is missing, damaged, or another one.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=False)
        except FileNotFoundError:
            raise InputError(f"no such file: {path}; expected a .pt file that a run wrote") from None
        except Exception as error:  # a damaged archive or pickle fails in many ways
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"{path} cannot be read ({reason}); expected a .pt file that a run wrote") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT or content["task"] != self.name:
            raise InputError(f"{path} holds no network for {self.name}; expected a .pt file that a run of it wrote")
        model: nn.Module = content["model"]
        self.check_network(model, str(path))
        return model

    def _taught_by(self, teacher: nn.Module) -> Callable[[nn.Module, Any], Tensor]:
        """The loss with the dense network as teacher: of its outputs and, if they count, of where it looks."""
        guide = deepcopy(teacher).eval().requires_grad_(False)
        stages = find_stages(guide, self.example_inputs()) if self.distillation.attention else ()

        def loss(model: nn.Module, batch: Any) -> Tensor:
            guide.to(batch[0].device)
            if not stages:
                return self.distilled_loss(model, guide, batch)
            watched = Watched(getattr(model, "module", model), guide, stages)
            with watched.watching():
                taught = self.distilled_loss(model, guide, batch)
            return taught + self.distillation.attention * watched.distance()

        return loss

    def _fit(
        self,
        model: nn.Module,
        out_dir: Path,
        epochs: int,
        settings: FitSettings,
        teacher: nn.Module | None,
        progress: Progress | None,
        regularizer: Regularizer | None = None,
    ) -> nn.Module:
        self.check_network(model, "the network")
        self.check_data(progress)
        fit = Fit(
            TrainingBatches(self.samples("train", True), settings.batch, self.seed, self.collate, settings.workers),
            self.loss if teacher is None else self._taught_by(teacher),
            lambda module: self.score(predictor(module)),
            settings,
            epochs,
            title=f"train {self.name}",
            score_name=self.metric_name,
            about=[self.about(), run_key(asdict(self.distillation) if teacher else {}, teacher), repr(regularizer)],
            regularizer=regularizer,
        )
        return fit.run(model, out_dir, progress)
