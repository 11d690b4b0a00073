"""Every door and every channel: the modules that have them register them when they are imported."""

from __future__ import annotations

from leaks import arrow_doors, channels, instance_doors, line_doors, ping_doors, request_doors
from leaks.doors import BOUNDS, CHANNELS, DOORS

__all__ = ["BOUNDS", "CHANNELS", "DOORS", "MODULES"]

MODULES = (line_doors, arrow_doors, request_doors, ping_doors, instance_doors, channels)
