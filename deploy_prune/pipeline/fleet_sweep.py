"""The YAML of a sweep over models, budgets, devices and precisions, validated whole before anything starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pydantic
import yaml

from deploy_prune.errors import InputError
from deploy_prune.hardware.profile import HardwareProfile, load_profile
from deploy_prune.mistakes import describe_mistakes
from deploy_prune.pipeline.fleet_job import FleetJob, FleetModel
from deploy_prune.pipeline.latency_budget import parse_budgets
from deploy_prune.pipeline.recipe_sections import Section


class FleetSweep(Section):
    """Every model is pruned to every budget under every profile, in each precision that the profile's engine has.

    Attributes:
        name: of the sweep's folder.
        models: what is pruned.
        budgets: as ``--budgets`` takes them: 1.5, 2x, 8ms.
        profiles: names or paths of hardware profiles; each has its engine and its host.
        precisions: without them each profile has its own.
        one_plan: whether one plan of a model keeps each budget under all profiles at once.
        ray: address of a Ray cluster whose processes run the jobs, or ``auto``; None: processes of this machine.
    """

    name: str = pydantic.Field(default="fleet", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    models: tuple[FleetModel, ...] = pydantic.Field(strict=False)
    budgets: tuple[str, ...] = pydantic.Field(strict=False)
    profiles: tuple[str, ...] = pydantic.Field(strict=False)
    precisions: tuple[str, ...] = pydantic.Field((), strict=False)
    one_plan: bool = False
    ray: str | None = None

    @pydantic.field_validator("budgets", mode="before")
    @classmethod
    def _as_texts(cls, budgets: Any) -> Any:
        return [str(one) for one in budgets] if isinstance(budgets, list) else budgets

    @pydantic.field_validator("models", "budgets", "profiles")
    @classmethod
    def _is_one(cls, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if not given:
            raise ValueError("expected one or more, got an empty list")
        return given

    @pydantic.field_validator("budgets")
    @classmethod
    def _are_budgets(cls, budgets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(budget.name for budget in parse_budgets(",".join(budgets)))

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> FleetSweep:
        slugs = [model.slug for model in self.models]
        for slug in slugs:
            if slugs.count(slug) > 1:
                raise ValueError(f"models: {slugs.count(slug)} of them would write the folder {slug}; give each a name")
        if self.one_plan and (recipes := [model.recipe for model in self.models if model.recipe is not None]):
            raise ValueError(
                f"one_plan: the recipe {recipes[0]} is run as a whole under each profile; for one plan name its "
                "further devices in the recipe, under budget.also"
            )
        return self

    def jobs(self, folder: Path) -> tuple[FleetJob, ...]:
        """What there is to do, in the order of the table: with ``one_plan`` a job per model, else per model and device.

        Args:
            folder: of the sweep; each job gets one below it.

        Raises:
            InputError: a profile does not exist or is given twice, or no engine has a precision.
        """
        profiles = self.device_profiles()
        together = [profiles] if self.one_plan else [(profile,) for profile in profiles]
        return tuple(
            FleetJob(
                model=model,
                budgets=self.budgets,
                profiles=those,
                folder=str(folder.absolute() / model.slug / ("one_plan" if self.one_plan else _slug(those[0].name))),
                working_folder=str(Path.cwd()),
            )
            for model in self.models
            for those in together
        )

    def device_profiles(self) -> tuple[HardwareProfile, ...]:
        """The profiles in each precision that is asked for and that their engines have; raises as :meth:`jobs`."""
        found: list[HardwareProfile] = []
        for given in map(load_profile, self.profiles):
            known = given.engine_facts.precisions
            found += [_in_precision(given, one) for one in self.precisions or (given.precision,) if one in known]
        missing = [one for one in self.precisions if one not in {profile.precision for profile in found}]
        if missing:
            raise InputError(
                f"precisions: no engine of the profiles has {missing[0]!r}; leave it out, or add a profile"
            )
        names = [profile.name for profile in found]
        for name in names:
            if names.count(name) > 1:
                raise InputError(
                    f"profiles: {name!r} is there {names.count(name)} times; give each once, or name it anew"
                )
        return tuple(found)


def read_sweep(path: Path) -> FleetSweep:
    """Read and validate the file of a sweep.

    Raises:
        InputError: the file is missing or unreadable, or has mistakes; then all of them, one per line.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"sweep {path} does not exist; expected the path of a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"sweep {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"sweep {path} is not valid YAML: {' '.join(str(error).split())}") from None
    try:
        return FleetSweep.model_validate(content)
    except pydantic.ValidationError as error:
        raise InputError("\n".join(f"{path}: {mistake}" for mistake in describe_mistakes(error, FleetSweep))) from None


def _in_precision(profile: HardwareProfile, precision: str) -> HardwareProfile:
    """The profile for a precision, named after it where that is not its own."""
    if precision == profile.precision:
        return profile
    named = {"precision": precision, "name": f"{profile.name}-{precision}"}
    return HardwareProfile.model_validate({**profile.model_dump(), **named})


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
