"""Reading the settings: the file, then the environment over it; all problems at once, never a value in them.

Values stay out of messages because a connection string may hold a password.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from heliograph.settings.fields import FIELDS, SECTIONS
from heliograph.settings.sections import DEFAULT_FILE, PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from heliograph.settings.fields import Field

MAXIMUM_BYTES: Final = 1 << 20

_SQLITE_FILE: Final = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:|file:)([^?]+)(.*)", re.DOTALL)
_TABLE_LINE: Final = re.compile(r"\s*\[\s*[\"']?([\w-]+)[\"']?\s*\]")
_KEY_LINE: Final = re.compile(r"\s*([\w\"'-]+(?:\s*\.\s*[\w\"'-]+)*)\s*=")

Values = dict[str, dict[str, Any]]
"""What is given, by section and field."""


class SettingsError(Exception):
    """The settings cannot be used; `problems` says all that is wrong, with places and remedies."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _Entry(NamedTuple):
    """A value that is given for what may be a field."""

    where: str
    section: str
    name: str
    value: object


def load_settings(path: str | Path | None = None, *, environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of the file at `path` and of `environment`, which overrides it.

    Relative paths, the defaults included, start from the folder of the file; those from the environment, and
    all if there is no file, from the working folder.

    Args:
        path: the file, which must exist; None for `DEFAULT_FILE` in the working folder, if that exists.
        environment: variables named ``HELIOGRAPH_<SECTION>_<FIELD>``.

    Raises:
        SettingsError: the file cannot be read, or something in it or in the environment is no setting.
    """
    file = Path(DEFAULT_FILE if path is None else path)
    problems: list[str] = []
    values: Values = {section: {} for section in SECTIONS}
    if path is not None or file.exists():
        _put_all(values, _file_entries(file, problems), problems, strict=True)
        problems += _exposed_secrets(file, values)
        _anchor_paths(values, file.parent)
    _put_all(values, _environment_entries(environment), problems, strict=False)
    if problems:
        raise SettingsError(problems)
    sections: dict[str, Any] = {section: kind(**values[section]) for section, kind in SECTIONS.items()}
    return Settings(**sections)


def anchored(value: str, folder: Path) -> str:
    """Return a path field's `value` as seen from the working folder, if relative paths start at `folder`."""
    if not value or folder == Path():
        return value
    if match := _SQLITE_FILE.fullmatch(value):
        scheme, path, query = match.groups()
        return f"{scheme}{folder / path}{query}"
    return value if "://" in value else str(folder / value)


def _anchor_paths(values: Values, folder: Path) -> None:
    for fields in FIELDS.values():
        for field in fields.values():
            if field.path:
                value = values[field.section].get(field.name, field.default)
                values[field.section][field.name] = anchored(value, folder)


def _file_entries(file: Path, problems: list[str]) -> Iterator[_Entry]:
    text = _read(file, problems)
    places = _places(text)
    for section, table in _parse(text, file, problems).items():
        where = _where(file, places, section)
        if section not in SECTIONS:
            problems.append(f"{where}: is not a section. {_choice(section, {name: name for name in SECTIONS})}")
        elif not isinstance(table, dict):
            problems.append(f"{where}: is not a table. Begin the section with a line `[{section}]`.")
        else:
            for name, value in table.items():
                yield _Entry(_where(file, places, section, name), section, name, value)


def _exposed_secrets(file: Path, values: Values) -> Iterator[str]:
    """Yield each secret that the file holds although others may read it."""
    secrets = [field for fields in FIELDS.values() for field in fields.values() if field.whole]
    held = [field for field in secrets if values[field.section].get(field.name)]
    if held and stat.S_IMODE(file.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        for field in held:
            yield (
                f"{file}: {field.section}.{field.name}: others may read this file. Give the secret by "
                f"{field.variable} in the environment; or run `chmod 600 {file}`."
            )


def _environment_entries(environment: Mapping[str, str]) -> Iterator[_Entry]:
    for variable, value in sorted(environment.items()):
        # Names of sections hold underscores too, so that the known ones decide where the field begins.
        for section in SECTIONS:
            prefix = f"{PREFIX}{section.upper()}_"
            if variable.startswith(prefix):
                yield _Entry(variable, section, variable.removeprefix(prefix).lower(), value)


def _put_all(values: Values, entries: Iterable[_Entry], problems: list[str], *, strict: bool) -> None:
    """Put each entry in its place, or say what is wrong with it; what is not `strict` is text."""
    for where, section, name, value in entries:
        if (field := FIELDS[section].get(name)) is None:
            written = {field.name: field.name if strict else field.variable for field in FIELDS[section].values()}
            problems.append(f"{where}: is not a setting. {_choice(name, written)}")
            continue
        try:
            values[section][name] = _converted(value, field, strict=strict)
        except ValueError:
            problems.append(f"{where}: must be {field.expected}. Its meaning: {field.description}")


def _converted(value: object, field: Field, *, strict: bool) -> object:
    """Return `value` as the field's type; raise `ValueError` if it does not fit."""
    if field.is_list and isinstance(value, str) and not strict:
        value = _listed(value)
    try:
        converted = msgspec.convert(value, field.kind, strict=strict)
    except (msgspec.ValidationError, OverflowError):
        raise ValueError from None
    if isinstance(converted, float) and not math.isfinite(converted):
        raise ValueError
    for text in [converted] if isinstance(converted, str) else converted if isinstance(converted, tuple) else []:
        text.encode()  # the environment may hold bytes that are no text, which raise a ValueError
    return converted


def _listed(text: str) -> object:
    """Return what a variable says of a list: words with commas between, or a JSON array of texts."""
    if text.startswith("["):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            raise ValueError from None
    return [word for part in text.split(",") if (word := part.strip())]


def _read(file: Path, problems: list[str]) -> str:
    remedy = "Name a settings file; `heliograph config init` writes one."
    try:
        with file.open("rb") as stream:
            content = stream.read(MAXIMUM_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        problems.append(f"{file}: cannot be read: {reason}. {remedy}")
        return ""
    if len(content) > MAXIMUM_BYTES:
        problems.append(f"{file}: is larger than {MAXIMUM_BYTES:,} bytes. {remedy}")
        return ""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problems.append(f"{file}:{line}: is not UTF-8. Save the file as UTF-8 text.")
        return ""


def _parse(text: str, file: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # the parser's own error is a ValueError, among others
        message, _, place = str(error).partition(" (at ")
        line = re.match(r"line (\d+)", place)
        where = f"{file}:{line[1]}" if line else str(file)
        problems.append(f"{where}: not TOML: {message}. Write `key = value` lines, and text in double quotes.")
        return {}


def _places(text: str) -> dict[tuple[str, ...], int]:
    """Return the lines of sections and keys, as far as a look at the beginnings of lines tells."""
    places: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _TABLE_LINE.match(line):
            table = (match[1],)
            places.setdefault(table, number)
        elif match := _KEY_LINE.match(line):
            key = (*table, *(part.strip(" \t\"'") for part in match[1].split(".")))
            places.setdefault(key[:1], number)
            places.setdefault(key[:2], number)
    return places


def _where(file: Path, places: Mapping[tuple[str, ...], int], *path: str) -> str:
    line = places.get(path) or places.get(path[:1])
    dotted = ".".join(part if part.isprintable() else ascii(part) for part in path)
    return f"{file}{f':{line}' if line else ''}: {dotted}"


def _choice(name: str, written: Mapping[str, str]) -> str:
    """Return the remedy for an unknown name: the nearest known one as it is `written`, or all of them."""
    near = difflib.get_close_matches(name[:60], written, n=1)
    return f"Did you mean `{written[near[0]]}`?" if near else f"There are {', '.join(written.values())}."
