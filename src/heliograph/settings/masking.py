"""Settings that may be shown: passwords in connection strings are replaced."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.settings.fields import FIELDS

if TYPE_CHECKING:
    from heliograph.settings.fields import Field
    from heliograph.settings.sections import Settings

MASK: Final = "********"

_SECRET_WORD: Final = r"\w*(?:pass|secret|token|key)\w*"  # noqa: S105 - finds passwords, is none
_SPACED: Final = re.compile(
    rf"({_SECRET_WORD}\s*=\s*)('(?:[^'\\]|\\.)*(?:'|$)|(?:\\.|[^\s\\])*)", re.IGNORECASE | re.DOTALL
)
"""``password=x`` and ``password='x y'``, as libpq reads them."""
_IN_QUERY: Final = re.compile(rf"([?&]{_SECRET_WORD}=)[^&]*", re.IGNORECASE)
_IN_URL: Final = re.compile(r"(://)(.*)(@)", re.DOTALL)
"""User and password of a URL: up to the last ``@``, since passwords hold more than they should."""


def masked(settings: Settings) -> Settings:
    """Return `settings` with a mask in place of each password."""
    changes = {}
    for section, fields in FIELDS.items():
        values = getattr(settings, section)
        secrets = {name: _hidden(field, getattr(values, name)) for name, field in fields.items() if field.secret}
        changes[section] = msgspec.structs.replace(values, **secrets)
    return msgspec.structs.replace(settings, **changes)


def _hidden(field: Field, value: str) -> str:
    if field.all_secret:
        return value and MASK
    return mask(value)


def mask(connection: str) -> str:
    """Return a connection string, a URL or libpq's ``key=value`` words, without its password."""
    if "://" in connection:
        without_user = _IN_URL.sub(lambda found: f"://{found[2].partition(':')[0]}:{MASK}@", connection)
        return _IN_QUERY.sub(rf"\1{MASK}", without_user)
    if connection and "=" not in connection:
        return MASK
    return _SPACED.sub(rf"\1{MASK}", connection)
