"""Whether the gateway can take a delivery now, and what to do if not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.gateway.log_reading import RELEASED, read_generation, segment_path, segments

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.settings import GatewaySettings

_ATTEMPTS: Final = 3


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a delivery needs."""

    name: str
    ok: bool
    remedy: str = ""
    """What to do, if it is not in order."""


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    ready: bool
    checks: list[Check]


REMEDIES: Final = {
    "registry": "Look at the registry's database: it has not been read for ten seconds.",
    "log": (
        "Start the loader, or see why it is behind; or free the disk, or raise gateway.maximum_log_bytes: "
        "no other segment can be begun."
    ),
    "writer": "Start the gateway again: the process that writes its log does not answer. Its log says why.",
    "signing_key": "Put back the file that gateway.signing_key names: no receipt could be verified.",
    "plan": "Give plan.file a plan that can be used: none is in force.",
}
"""Every check, and what to do."""


def readiness(**checks: bool) -> Readiness:
    """Put checks together, by their names in `REMEDIES`."""
    found = [Check(name=name, ok=ok, remedy="" if ok else REMEDIES[name]) for name, ok in checks.items()]
    return Readiness(ready=all(check.ok for check in found), checks=found)


def log_has_room(settings: GatewaySettings) -> bool:
    """Tell whether another segment can be begun in the log, as soon as the present one is full."""
    folder = Path(settings.log)
    for _ in range(_ATTEMPTS):
        try:
            generations = segments(folder)
            released = read_generation(folder / RELEASED)
            if released is not None and any(generation < released for generation in generations[:-1]):
                return True
            total = sum(segment_path(folder, generation).stat().st_size for generation in generations)
            fits = total + settings.segment_bytes <= settings.maximum_log_bytes
            return fits and shutil.disk_usage(folder).free >= settings.segment_bytes
        except FileNotFoundError:  # a segment was used again, or there is no log
            continue
    return False


def key_is_there(settings: GatewaySettings) -> bool:
    """Tell whether the signing key still stands where the next start looks for it."""
    return Path(settings.signing_key).is_file()


def answers(ask: Callable[[], object], *errors: type[Exception]) -> bool:
    """Tell whether asking raises none of `errors`."""
    try:
        ask()
    except errors:
        return False
    return True
