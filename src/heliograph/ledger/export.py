"""The files in which both halves are handed over: JSON lines, each in its one written form.

The instance's half begins with a `Header`; then each entry of the ledger is a line of its own. The vendor's half begins
with a `DeliveriesHeader`; then each delivery that it holds is a line. docs/ledger.md describes both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from heliograph.consent.chain import Head, Link
from heliograph.ledger.entries import Digest, Number, canonical_json
from heliograph.ledger.verify import Problem, is_canonical
from heliograph.wire import Receipt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

LONGEST_LINE: Final = 4 << 20
"""Bytes; an entry has about a thousand."""


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line of an instance's half."""

    format: Literal["heliograph-ledger/1"] = "heliograph-ledger/1"
    entries: Number
    """How many follow."""
    head: Digest
    """The digest of the last one."""
    endorsements: list[str]
    """How the vendor's signing key follows from earlier ones: compact JWS, from the oldest on."""


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry with its place in the chain."""

    number: Number
    previous: Digest
    digest: Digest
    entry: msgspec.Raw
    """As it is in the ledger."""


class DeliveriesHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line of a vendor's half."""

    format: Literal["heliograph-deliveries/1"] = "heliograph-deliveries/1"
    instance: str
    deliveries: Number
    """How many follow."""


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that the vendor holds."""

    receipt: Receipt
    account: str
    plan: str
    """By which it was checked: name and version."""


class ExportError(Exception):
    """A file is not what it should be; the message says why, and what to do."""


class Exported(msgspec.Struct, kw_only=True):
    """An instance's half as it was read from a file; nothing of it is verified but its form."""

    header: Header | None
    links: list[Link]
    problems: list[Problem]


def ledger_lines(links: Iterable[Link], head: Head, endorsements: Iterable[str]) -> Iterator[bytes]:
    """Yield the lines of an instance's half, without what ends them."""
    yield canonical_json(Header(entries=head.length, head=head.digest, endorsements=list(endorsements)))
    for link in links:
        if link.number > head.length:  # written meanwhile
            return
        yield canonical_json(
            Line(number=link.number, previous=link.previous, digest=link.digest, entry=msgspec.Raw(link.body))
        )


def delivery_lines(instance: str, deliveries: Iterable[Delivered]) -> Iterator[bytes]:
    """Yield the lines of a vendor's half, without what ends them."""
    found = list(deliveries)
    yield canonical_json(DeliveriesHeader(instance=instance, deliveries=len(found)))
    yield from (canonical_json(each) for each in found)


def write_lines(path: Path, lines: Iterable[bytes]) -> int:
    """Write a file, and return how many lines it has.

    Raises:
        OSError: It cannot be written.
    """
    count = 0
    with path.open("wb") as file:
        for line in lines:
            file.write(line + b"\n")
            count += 1
    return count


def read_ledger(path: Path) -> Exported:
    """Read an instance's half; what is wrong with a line is a problem, and the rest is read all the same.

    Raises:
        ExportError: This is no such file.
        OSError: It cannot be read.
    """
    exported = Exported(header=None, links=[], problems=[])
    for number, line in enumerate(_lines(path)):
        if number == 0:
            exported.header = _ledger_header(path, line, exported.problems)
            continue
        try:
            read = msgspec.json.decode(line, type=Line)
        except (ValueError, RecursionError):
            exported.problems.append(Problem(number, "cannot be read: its line was changed, or is cut off"))
            continue
        if not is_canonical(line):
            exported.problems.append(Problem(read.number, "is not in its one written form: its line was changed"))
        exported.links.append(Link(read.number, read.previous, read.digest, bytes(read.entry)))
    _check_end(exported)
    return exported


def _ledger_header(path: Path, line: bytes, problems: list[Problem]) -> Header | None:
    try:
        header = msgspec.json.decode(line, type=Header)
    except (ValueError, RecursionError):
        if b"heliograph-deliveries" in line:
            raise ExportError(f"{path}: is a vendor's half. Give the instance's ledger here.") from None
        if b"heliograph-ledger" not in line and b"previous" not in line and b"endorsements" not in line:
            raise ExportError(f"{path}: is no ledger: make one with `heliograph ledger export FILE`.") from None
        problems.append(Problem(0, "the first line, which says how many entries there are, cannot be read"))
        return None
    if not is_canonical(line):
        problems.append(Problem(0, "the first line is not in its one written form: it was changed"))
    return header


def _check_end(exported: Exported) -> None:
    header, links = exported.header, exported.links
    if header is None or not links:
        return
    last = links[-1]
    if header.entries > last.number:
        exported.problems.append(
            Problem(last.number + 1, f"is missing at the end: the first line says that there are {header.entries:,}")
        )
    elif header.entries < last.number:
        exported.problems.append(
            Problem(last.number, f"was added: the first line says that there are {header.entries}")
        )
    elif header.head != last.digest:
        exported.problems.append(Problem(last.number, "is not the one with which the ledger ends, by the first line"))


def read_deliveries(path: Path) -> tuple[str, list[Delivered]]:
    """Read a vendor's half: of which instance, and what it holds.

    Raises:
        ExportError: This is no such file, or it is damaged.
        OSError: It cannot be read.
    """
    lines = _lines(path)
    try:
        header = msgspec.json.decode(next(lines, b""), type=DeliveriesHeader)
    except (ValueError, RecursionError):
        raise ExportError(
            f"{path}: is no vendor's half: the vendor makes one with `heliograph ledger export FILE --instance NAME`."
        ) from None
    found = []
    for number, line in enumerate(lines, 2):
        try:
            found.append(msgspec.json.decode(line, type=Delivered))
        except (ValueError, RecursionError):
            raise ExportError(f"{path}:{number}: cannot be read: the file is damaged. Ask for it anew.") from None
    if len(found) != header.deliveries:
        raise ExportError(
            f"{path}: has {len(found):,} deliveries, and says {header.deliveries:,}: it is cut off. Ask for it anew."
        )
    return header.instance, found


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            if not line.endswith(b"\n"):
                yield line + b" "  # cut off: no line is in its one written form without its end
                return
            yield line[:-1]
