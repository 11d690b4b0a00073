"""The doors: every way in which content reaches the vendor, by name, each a function that pushes canaries through it.

Each function also sees that what it sent got the verdict or the answer that it should: what is not there because
nothing arrived would prove nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from leaks.canaries import Form
    from leaks.world import World

    Door = Callable[[World, str], None]

DOORS: Final[dict[str, Door]] = {}
"""By name. Each takes the world, and the name under which it takes canaries."""
CHANNELS: Final[dict[str, Door]] = {}
"""What is left: places in which the plan itself, or the protocol, allows a value that a hostile client chooses."""
BOUNDS: Final[dict[str, str]] = {}
"""What bounds each channel, in words."""


def door(name: str) -> Callable[[Door], Door]:
    """Register a door."""

    def register(function: Door) -> Door:
        assert name not in DOORS
        DOORS[name] = function
        return function

    return register


def channel(name: str, bound: str) -> Callable[[Door], Door]:
    """Register a channel that is left, and what bounds it."""

    def register(function: Door) -> Door:
        assert name not in CHANNELS
        CHANNELS[name] = function
        BOUNDS[name] = bound
        return function

    return register


def one_line(form: Form) -> list[str]:
    """Return a form's parts without line ends, for doors that end at one."""
    return [part.replace("\n", " ").replace("\r", " ") for part in form.parts]
