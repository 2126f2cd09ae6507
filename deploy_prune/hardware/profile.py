"""Hardware profiles: what to measure on and how, as validated YAML."""

from __future__ import annotations

import difflib
import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy_prune.errors import InputError
from deploy_prune.mistakes import describe_mistakes

Engine = Literal["onnxruntime"]
ENGINES: tuple[str, ...] = get_args(Engine)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class MeasuringLimits(_Strict):
    """When warm-up and measuring end.

    ``warm_up_runs`` and ``min_runs`` are lower bounds, ``warm_up_max_s``/``max_s`` are limits in seconds.
    ``ci_width`` is the wanted width of the 95 % interval of the median as a share of the median.
    """

    warm_up_runs: int = Field(10, ge=1)
    warm_up_max_s: float = Field(5.0, gt=0)
    min_runs: int = Field(50, ge=10)
    min_s: float = Field(1.0, ge=0)
    max_s: float = Field(10.0, gt=0)
    ci_width: float = Field(0.01, gt=0, lt=1)


class HardwareProfile(_Strict):
    """A device, the engine on it, and the conditions to measure under; see ``hardware_profiles/*.yaml``.

    ``affinity`` lists the zero-based cores that the worker may use (None: the operating system chooses).
    ``axes`` gives a size to each dynamic axis of the model by its name; ``batch`` is the first axis of every
    input.
    """

    name: str
    engine: Engine
    device: Literal["cpu"] = "cpu"
    threads: int = Field(1, ge=1)
    precision: Literal["fp32"] = "fp32"
    batch: int = Field(1, ge=1)
    spinning: bool = False
    affinity: tuple[int, ...] | None = Field(None, strict=False)
    axes: dict[str, int] = Field(default_factory=dict)
    measuring: MeasuringLimits = MeasuringLimits.model_validate({})


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
