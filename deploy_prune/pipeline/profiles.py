"""List hardware profiles with what keeps them from running on this machine."""

from collections.abc import Sequence

from deploy_prune.errors import InputError, MeasurementError
from deploy_prune.hardware.availability import find_obstacles
from deploy_prune.hardware.profile import HardwareProfile, load_profile
from deploy_prune.report.profiles import ProfileEntry
from deploy_prune.runtime.hosts import find_host


def describe_profiles(names: Sequence[str]) -> list[ProfileEntry]:
    """One entry per profile, given by name or path.

    Raises:
        InputError: see ``load_profile``.
    """
    entries = []
    for profile in map(load_profile, names):
        how = (profile.engine_and_mode, profile.device, profile.threads, profile.precision)
        entries.append(ProfileEntry(profile.name, *how, _obstacles(profile), profile.untested))
    return entries


def _obstacles(profile: HardwareProfile) -> tuple[str, ...]:
    """What is in the way, on this machine or on the profile's own, which may be out of reach."""
    try:
        return find_obstacles(profile, host=find_host(profile))
    except (InputError, MeasurementError) as error:
        return (str(error),)
