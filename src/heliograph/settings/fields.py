"""The definitions as data: what loading, printing and masking need to know of each field."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta

from heliograph.settings.sections import PREFIX, Section, Settings

_NOUNS: Final[dict[Any, str]] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    tuple[str, ...]: "a list of texts",
}


class Field(NamedTuple):
    """One field of one section."""

    section: str
    name: str
    kind: Any
    """Its type, with the bounds on it."""
    default: object
    description: str
    path: bool
    """Whether it is a file, a folder, or a URL that may hold one."""
    secret: bool
    """Whether it may hold a password."""
    whole: bool
    """Whether it is a password altogether, and not a connection string that holds one."""

    @property
    def is_list(self) -> bool:
        """Whether it holds many texts; in the environment with commas between, or as JSON."""
        return get_origin(get_args(self.kind)[0]) is tuple

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return f"{PREFIX}{self.section}_{self.name}".upper()

    @property
    def expected(self) -> str:
        """What it may hold, in words: ``a whole number from 0 to 65535``."""
        plain, *metas = get_args(self.kind)
        if get_origin(plain) is Literal:
            return f"one of {', '.join(get_args(plain))}"
        bounds = {
            word: bound
            for meta in metas
            for word, bound in (("from", meta.ge), ("above", meta.gt), ("to", meta.le))
            if bound is not None
        }
        noun = _NOUNS[plain]
        return " ".join([noun, *(f"{word} {bound}" for word, bound in bounds.items())])


def _field(section: str, info: msgspec.structs.FieldInfo) -> Field:
    metas = [meta for meta in get_args(info.type)[1:] if isinstance(meta, Meta)]
    about = next(meta for meta in metas if meta.description is not None)
    return Field(section, info.name, info.type, info.default, about.description or "", **(about.extra or {}))


SECTIONS: Final[dict[str, type[Section]]] = {info.name: info.type for info in msgspec.structs.fields(Settings)}
"""The sections in the order of the file."""

FIELDS: Final[dict[str, dict[str, Field]]] = {
    section: {info.name: _field(section, info) for info in msgspec.structs.fields(kind)}
    for section, kind in SECTIONS.items()
}
"""The fields by section and name."""
