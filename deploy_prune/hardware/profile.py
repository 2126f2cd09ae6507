"""Hardware profiles: what to measure on and how, as validated YAML."""

from __future__ import annotations

import difflib
import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from deploy_prune.errors import InputError

Engine = Literal["onnxruntime"]
ENGINES: tuple[str, ...] = get_args(Engine)

# pydantic's error types of wrong types -> what a person would write instead
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of names to values",
}


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
        raise InputError(
            f"{path}: expected a mapping of names to values, such as 'engine: onnxruntime', "
            f"got {_describe(content)}; see the profiles that come with the package: {_join(list_profiles())}"
        )
    try:
        return HardwareProfile.model_validate(content)
    except ValidationError as error:
        raise InputError("\n".join(f"{path}: {_explain(item)}" for item in error.errors())) from error


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


def _explain(error: ErrorDetails) -> str:
    """One of pydantic's findings as a line that says where, what was got, and what is expected."""
    where = ".".join(str(part) for part in error["loc"])
    got = _describe(error["input"])
    kind = error["type"]
    if kind == "extra_forbidden":
        known = _known_keys(error["loc"])
        return f"unknown key {where!r}{_suggest(str(error['loc'][-1]), known)}; known: {_join(known)}"
    if kind == "missing":
        return f"{where}: is required and missing"
    if kind == "literal_error":
        choices = _choices(error["loc"])
        hint = _suggest(str(error["input"]), choices)
        return f"{where}: expected one of {_join(choices)}, got {got}{hint}"
    if kind in _EXPECTED:
        return f"{where}: expected {_EXPECTED[kind]}, got {got}"
    return f"{where}: {error['msg'].removeprefix('Input ')}, got {got}"


def _model_at(loc: Sequence[int | str]) -> type[BaseModel]:
    return MeasuringLimits if len(loc) > 1 and loc[0] == "measuring" else HardwareProfile


def _known_keys(loc: Sequence[int | str]) -> list[str]:
    return list(_model_at(loc).model_fields)


def _choices(loc: Sequence[int | str]) -> list[str]:
    return [str(choice) for choice in get_args(_model_at(loc).model_fields[str(loc[-1])].annotation)]


def _suggest(got: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(got, known, n=1, cutoff=0.5)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


def _describe(value: Any) -> str:
    names = {
        str: "text",
        bool: "true/false",
        int: "whole number",
        float: "number",
        list: "list",
        dict: "mapping",
    }
    return "nothing" if value is None else f"{value!r} ({names.get(type(value), type(value).__name__)})"


def _join(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "(none)"
