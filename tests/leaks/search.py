"""The search of every byte at the vendor's side: whatever is compressed in a file is opened, and searched as well.

Each piece of bytes is searched in several readings: as it is, without zero bytes (so that UTF-16 reads as UTF-8), and
as text with its Unicode undressed. Case never counts.
"""

from __future__ import annotations

import io
import re
import sqlite3
import unicodedata
import zlib
from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

import ahocorasick_rs
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from leaks.canaries import HOMOGLYPHS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from leaks.canaries import Form

_DEEPEST: Final = 4
_GZIP: Final = b"\x1f\x8b\x08"
_AVRO: Final = b"Obj\x01"
_PARQUET: Final = b"PAR1"
_SQLITE: Final = b"SQLite format 3\0"
_LATIN: Final = {chr(other): chr(latin) for latin, other in HOMOGLYPHS.items()}
_INVISIBLE: Final = re.compile("[\u0300-\u036f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]+")
_ZEROS: Final = re.compile(rb"\0{9,}")


class Found(NamedTuple):
    """A canary that should not be there."""

    door: str
    form: Form
    place: str


class Search:
    """Looks for canaries in bytes of any kind."""

    def __init__(self, needles: Mapping[bytes, tuple[str, Form]]) -> None:
        self._about = list(needles.values())
        self._automaton = ahocorasick_rs.BytesAhoCorasick(list(needles))
        self.found: list[Found] = []
        self.bytes = 0
        """How many were searched, in all readings."""
        self.places: dict[str, int] = defaultdict(int)
        """How many pieces were searched, by kind."""

    def file(self, path: Path) -> None:
        """Search a file: its name, its bytes, and everything that its format hides from a plain search."""
        content = path.read_bytes()
        self.bytes_of(f"name of {path}", str(path).encode())
        self.bytes_of(str(path), content)
        if content.startswith(_SQLITE):
            for text in _rows(path):
                self.bytes_of(f"{path}: rows", text)

    def bytes_of(self, place: str, content: bytes) -> None:
        """Search some bytes, and whatever is compressed in them."""
        for piece, inner in opened(place, content):
            self.places[piece.partition(": ")[2] or "bytes"] += 1
            for reading in readings(inner):
                self.bytes += len(reading)
                for index, _, _ in self._automaton.find_matches_as_indexes(reading):
                    door, form = self._about[index]
                    self.found.append(Found(door, form, piece))

    def folder(self, folder: Path) -> None:
        """Search every file under a folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.file(path)

    def places_of(self, door: str) -> set[str]:
        """Return the kinds of place in which something of a door was found."""
        return {each.place for each in self.found if each.door == door}


def readings(content: bytes) -> Iterator[bytes]:
    """Yield the ways in which bytes are read, all in lower case."""
    yield content.lower()
    if b"\0" in content:
        yield content.replace(b"\0", b"").lower()
    if content.isascii():
        return
    content = _ZEROS.sub(bytes(8), content)  # a file that is made at its full size is mostly those
    for text in (content.decode("utf-8", "ignore"), *_wide(content)):
        if not text.isascii():
            yield undressed(text).encode("utf-8", "ignore")


def _wide(content: bytes) -> Iterator[str]:
    """Yield bytes as UTF-16, whether it begins at an even place or an odd one."""
    for start in (0, 1):
        for order in ("utf-16-le", "utf-16-be"):
            yield content[start:].decode(order, "ignore")


def undressed(text: str) -> str:
    """Return text as it looks: one width, no accents, nothing invisible, Latin letters for those like them."""
    bare = unicodedata.normalize("NFKD", text)
    for other, latin in _LATIN.items():
        bare = bare.replace(other, latin)
    return _INVISIBLE.sub("", bare).lower()


def opened(place: str, content: bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield a piece of bytes, and each piece that is compressed in it, however deep."""
    yield place, content
    if depth == _DEEPEST:
        return
    for what, inner in _inner(content):
        yield from opened(f"{place}: {what}", inner, depth + 1)


def _inner(content: bytes) -> Iterator[tuple[str, bytes]]:
    for start in _places(content, zstandard.FRAME_HEADER):
        inflated = _zstd(content[start:])
        if inflated:
            yield "zstd", inflated
    for start in _places(content, _GZIP):
        inflated = _inflate(content[start:], 31)
        if inflated:
            yield "gzip", inflated
    if content.startswith(_AVRO):
        yield from (("avro", block) for block in _avro_blocks(content))
    if content.startswith(_PARQUET):
        yield from (("parquet", column) for column in _columns(content))


def _places(content: bytes, magic: bytes) -> Iterator[int]:
    start = content.find(magic)
    while start >= 0:
        yield start
        start = content.find(magic, start + 1)


def _zstd(content: bytes) -> bytes:
    """Return what a frame holds, as much of it as can be read."""
    inflater = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    parts = []
    try:
        for start in range(0, len(content), 1 << 16):
            parts.append(inflater.decompress(content[start : start + (1 << 16)]))
            if inflater.eof:
                break
    except zstandard.ZstdError:
        pass
    return b"".join(parts)


def _inflate(content: bytes, bits: int) -> bytes:
    try:
        return zlib.decompressobj(bits).decompress(content)
    except zlib.error:
        return b""


def _avro_blocks(content: bytes) -> Iterator[bytes]:
    """Yield the blocks of an Avro object container file, inflated (Avro specification, "Object Container Files")."""
    source = io.BytesIO(content[len(_AVRO) :])
    deflated = b"deflate" in content[:4096]
    while count := _long(source):
        for _ in range(2 * abs(count)):
            source.read(_long(source))
    marker = source.read(16)
    while source.tell() < len(content) - len(_AVRO):
        _long(source)
        block = source.read(_long(source))
        yield _inflate(block, -15) if deflated else block
        assert source.read(16) == marker


def _long(source: io.BytesIO) -> int:
    value = shift = 0
    while True:
        byte = source.read(1)[0]
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value >> 1 ^ -(value & 1)


def _columns(content: bytes) -> Iterator[bytes]:
    """Yield each column's values as text: numbers that pages hold packed or as dictionaries are found by that."""
    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read()
    except (pa.ArrowException, OSError):
        return
    for column in table.columns:
        values = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        yield "\n".join(map(str, values.unique().to_pylist())).encode()


def _rows(path: Path) -> Iterator[bytes]:
    """Yield each table's rows as text: a long value is not in one piece in SQLite's file."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for (table,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
            for row in connection.execute(f'select * from "{table}"'):
                yield "\n".join(value.hex() if isinstance(value, bytes) else str(value) for value in row).encode()


def unique(found: Iterable[Found]) -> set[tuple[str, str]]:
    """Return what was found as door and disguise, for a message that repeats no canary."""
    return {(each.door, f"{each.form.canary.kind}, {each.form.disguise}, in {each.place}") for each in found}
