"""`heliograph demo`."""

from __future__ import annotations


def demo() -> None:
    """Run both ends on this machine."""
