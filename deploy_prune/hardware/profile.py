"""Hardware profiles: what to measure on and how, as validated YAML."""

from __future__ import annotations

import difflib
import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from deploy_prune.errors import InputError
from deploy_prune.hardware.engines import ENGINES, EngineFacts
from deploy_prune.mistakes import describe_mistakes

DEFAULT_PROFILE = "cpu-onnxruntime"
"""The steadiest one; what is measured under when nobody says otherwise."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class MeasuringLimits(_Strict):
    """When warm-up and measuring end.

    ``warm_up_runs`` and ``min_runs`` are lower bounds, ``warm_up_max_s``/``max_s`` are limits in seconds.
    ``ci_width`` is the wanted width of the 95 % interval of the median as a share of the median. A comparison takes
    ``pairs`` pairs of fresh workers; a disturbed measurement of one model is taken again up to ``repeats`` times.
    """

    warm_up_runs: int = Field(10, ge=1)
    warm_up_max_s: float = Field(5.0, gt=0)
    min_runs: int = Field(50, ge=10)
    min_s: float = Field(1.0, ge=0)
    max_s: float = Field(10.0, gt=0)
    ci_width: float = Field(0.01, gt=0, lt=1)
    pairs: int = Field(6, ge=2)
    repeats: int = Field(1, ge=0)


class PowerPolicy(_Strict):
    """The clocks and the power that a profile asks for; checked before measuring.

    ``set``: make them so while measuring, by ``sudo -n``, and put them back; otherwise they are only checked.
    ``clocks``: "locked" (lowest and highest frequency are equal) or "observed" (as they are, and recorded).
    ``governor`` is the cpufreq governor and ``mode`` the name of the power mode of a Jetson; None: any.
    """

    clocks: Literal["observed", "locked"] = "observed"
    governor: str | None = None
    mode: str | None = None
    set: bool = False


class TensorRtSettings(_Strict):
    """How TensorRT builds engines; docs/tensorrt.md has what follows from each.

    ``typing``: "strong" takes every type from the file, "weak" lets TensorRT choose down to the profile's precision,
    which 11.0 no longer does. ``dla_core`` is the DLA to run on, with the GPU for what it cannot do (None: the GPU
    alone). ``workspace_mib`` limits the memory of single layers (None: all there is); ``optimization_level`` is
    TensorRT's own, with its default. ``trtexec`` is the program (None: looked for), ``cache`` the folder of built
    engines (None: in the user's cache folder); a build that takes longer than ``build_timeout_s`` seconds is ended.
    """

    typing: Literal["strong", "weak"] = "strong"
    dla_core: int | None = Field(None, ge=0)
    workspace_mib: int | None = Field(None, ge=1)
    optimization_level: int = Field(3, ge=0, le=5)
    trtexec: str | None = None
    cache: str | None = None
    build_timeout_s: float = Field(1800.0, gt=0)


class HardwareProfile(_Strict):
    """A device, the engine on it, and the conditions to measure under; see ``hardware_profiles/*.yaml``.

    ``affinity`` lists the zero-based cores that the worker may use (None: the operating system chooses).
    ``axes`` gives a size to each dynamic axis of the model by its name; ``batch`` is the first axis of every
    input. ``tensorrt`` has the settings of that engine. ``host`` is the machine to measure on, as ``ssh`` takes it
    (None: this one); ``python`` and ``environment`` are the interpreter there and variables for it. ``architecture``
    and ``board`` are what that machine must be, where the profile is for one kind only. ``untested``: it has not run
    on such a device yet.
    """

    name: str
    engine: Literal["onnxruntime", "openvino", "torch", "tensorrt"]
    mode: Literal["eager", "compile", "cuda_graph", "trtexec", "python"] | None = Field(None, validate_default=True)
    device: Literal["cpu", "cuda"] = Field("cpu", validate_default=True)
    threads: int = Field(1, ge=1)
    precision: Literal["fp32", "bf16", "fp16", "int8"] = "fp32"
    batch: int = Field(1, ge=1)
    spinning: bool = False
    affinity: tuple[int, ...] | None = Field(None, strict=False)
    axes: dict[str, int] = Field(default_factory=dict)
    tensorrt: TensorRtSettings = TensorRtSettings.model_validate({})
    power: PowerPolicy = PowerPolicy.model_validate({})
    host: str | None = None
    python: str = "python3"
    environment: dict[str, str] = Field(default_factory=dict)
    architecture: str | None = None
    board: str | None = None
    untested: bool = False
    measuring: MeasuringLimits = MeasuringLimits.model_validate({})

    @property
    def engine_facts(self) -> EngineFacts:
        """What the engine can do."""
        return ENGINES[self.engine]

    @property
    def engine_and_mode(self) -> str:
        """``openvino`` or ``torch (compile)``."""
        return f"{self.engine} ({self.mode})" if self.mode else self.engine

    @field_validator("mode", "device", "precision", "spinning")
    @classmethod
    def _fit_engine(cls, value: str | bool | None, info: ValidationInfo) -> str | bool | None:
        engine = info.data.get("engine")
        if engine is not None:  # None: that mistake has its own line
            _require_of_engine(engine, str(info.field_name), value)
        return value

    @field_validator("tensorrt")
    @classmethod
    def _fit_tensorrt(cls, value: TensorRtSettings, info: ValidationInfo) -> TensorRtSettings:
        engine = info.data.get("engine")
        if engine not in (None, "tensorrt") and value != TensorRtSettings.model_validate({}):
            raise ValueError(f"these settings are for the engine tensorrt, not {engine}; leave them out")
        if value.dla_core is not None and info.data.get("precision") == "fp32":
            raise ValueError("the DLA computes in fp16 and int8 alone; set 'precision'")
        return value

    @field_validator("device")
    @classmethod
    def _fit_mode(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("mode") == "cuda_graph" and value != "cuda":
            raise ValueError(f"mode cuda_graph needs 'cuda', got {value!r}")
        return value


def _require_of_engine(engine: str, field: str, value: str | bool | None) -> None:
    """Refuse what an engine cannot do."""
    facts = ENGINES[engine]
    if field == "spinning":
        if value and not facts.spins:
            raise ValueError(f"whether idle threads spin cannot be chosen with {engine}; leave it out")
        return
    known = {"mode": facts.modes, "device": facts.devices, "precision": facts.precisions}[field]
    if field == "mode" and not known:
        if value is not None:
            raise ValueError(f"{engine} has no modes, got {value!r}; leave it out")
    elif value not in known:
        got = "nothing" if value is None else repr(value)
        raise ValueError(f"{engine} knows {', '.join(known)}, got {got}")


def load_profile(name_or_path: str | Path) -> HardwareProfile:
    """Read a profile by its name (see ``list_profiles``) or from a YAML file.

    Raises:
        InputError: no such profile or file, or it is not usable; one line for each mistake.
    """
    path = _find_profile(name_or_path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as YAML ({reason}); correct the file") from error
    if not isinstance(content, dict):
        got = "nothing" if content is None else repr(content)
        raise InputError(
            f"{path}: expected a mapping of names to values, such as 'engine: onnxruntime', got {got}; "
            f"see the profiles that come with the package: {_join(list_profiles())}"
        )
    try:
        return HardwareProfile.model_validate(content)
    except ValidationError as error:
        lines = [f"{path}: {mistake}" for mistake in describe_mistakes(error, HardwareProfile)]
        raise InputError("\n".join(lines)) from error


def list_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with the package, sorted."""
    return tuple(sorted(path.stem for path in _profiles_folder().glob("*.yaml")))


def _profiles_folder() -> Path:
    installed = Path(str(importlib.resources.files("deploy_prune.hardware"))) / "profiles"
    checkout = Path(__file__).resolve().parents[2] / "hardware_profiles"
    return installed if installed.is_dir() else checkout


def _find_profile(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        if not path.is_file():
            raise InputError(f"profile file {path} not found; the profiles by name are {_join(list_profiles())}")
        return path
    names = list_profiles()
    if str(name_or_path) not in names:
        raise InputError(
            f"unknown profile {str(name_or_path)!r}{_suggest(str(name_or_path), names)}; "
            f"known: {_join(names)}, or give the path of a .yaml file"
        )
    return _profiles_folder() / f"{name_or_path}.yaml"


def _suggest(got: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(got, known, n=1, cutoff=0.5)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


def _join(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "(none)"
