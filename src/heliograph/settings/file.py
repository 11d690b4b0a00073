"""The whole settings file with comments, printed from the definitions."""

from __future__ import annotations

import json
import textwrap
from typing import Final

from heliograph.settings.fields import FIELDS, SECTIONS
from heliograph.settings.sections import Settings

DEFAULTS: Final = Settings()

_WIDTH: Final = 100
_HEAD: Final = """\
# Settings of Heliograph. Whatever is left out has its default.
#
# An environment variable HELIOGRAPH_<SECTION>_<FIELD>, such as HELIOGRAPH_GATEWAY_PORT, overrides this file. A
# list is written there with commas between, or as here.
#
# Relative paths in this file, and relative defaults, start from the folder that holds this file, wherever a
# command is run; so do SQLite's files in URLs with three slashes (sqlite:///registry.db). In environment
# variables they start from the working folder.
"""


def commented_file(settings: Settings = DEFAULTS) -> str:
    """Return `settings` as TOML that `load_settings` reads, each field with its meaning and default."""
    parts = [_HEAD.rstrip()]
    for section, kind in SECTIONS.items():
        values = getattr(settings, section)
        parts.append(f"\n{_comment(kind.__doc__ or '')}\n[{section}]")
        for field in FIELDS[section].values():
            about = _comment(field.description)
            bounds = f"# {field.expected.capitalize()}; default: {_toml(field.default)}."
            parts.append(f"\n{about}\n{bounds}\n{field.name} = {_toml(getattr(values, field.name))}")
    return "\n".join(parts) + "\n"


def _comment(text: str) -> str:
    return "\n".join(f"# {line}" for line in textwrap.wrap(text, _WIDTH, break_long_words=False))


def _toml(value: object) -> str:
    """Return a string or a number as TOML: as in JSON, but that TOML wants DEL escaped too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
