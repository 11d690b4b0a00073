"""What the sources of events have in common."""

from __future__ import annotations


class SourceError(Exception):
    """A source could not be read; says what to do. Nothing is lost or taken twice: the caller tries again later."""
