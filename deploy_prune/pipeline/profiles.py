"""List hardware profiles with what keeps them from running on this machine."""

from collections.abc import Sequence

from deploy_prune.hardware.availability import find_obstacles
from deploy_prune.hardware.profile import load_profile
from deploy_prune.report.profiles import ProfileEntry


def describe_profiles(names: Sequence[str]) -> list[ProfileEntry]:
    """One entry per profile, given by name or path.

    Raises:
        InputError: see ``load_profile``.
    """
    entries = []
    for profile in map(load_profile, names):
        how = (profile.engine_and_mode, profile.device, profile.threads, profile.precision)
        entries.append(ProfileEntry(profile.name, *how, find_obstacles(profile), profile.untested))
    return entries
