"""The search finds what was planted, in every encoding and in everything that a vendor's file may be."""

from __future__ import annotations

import gzip
import sqlite3
import zlib
from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from leaks.canaries import DISGUISES, KINDS, NUMERIC, RANDOM_ID, VERSION, Nest
from leaks.search import Search

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOISE = bytes(range(256)) * 4


def plain(content: bytes, path: Path) -> None:
    path.write_bytes(NOISE + content + NOISE)


def utf_16(content: bytes, path: Path) -> None:
    path.write_bytes(content.decode().encode("utf-16-le") + NOISE)


def utf_16_odd(content: bytes, path: Path) -> None:
    path.write_bytes(b"x" + content.decode().encode("utf-16-be"))


def zstd(content: bytes, path: Path) -> None:
    path.write_bytes(NOISE + zstandard.ZstdCompressor().compress(NOISE + content) + NOISE)


def zstd_torn(content: bytes, path: Path) -> None:
    whole = zstandard.ZstdCompressor(level=1, write_content_size=False).compress(content + bytes(1 << 18))
    path.write_bytes(whole[:-4])


def gzip_in_zstd(content: bytes, path: Path) -> None:
    path.write_bytes(zstandard.ZstdCompressor().compress(b"head" + gzip.compress(content)))


def gzip_torn(content: bytes, path: Path) -> None:
    path.write_bytes(gzip.compress(content)[:-6])


def parquet(content: bytes, path: Path) -> None:
    table = pa.table({"word": [content.decode(), "other"], "number": [1, 2]})
    pq.write_table(table, path, compression="zstd", use_dictionary=True, write_statistics=False)


def parquet_statistics(content: bytes, path: Path) -> None:
    table = pa.table({"word": [content.decode(), "other"]})
    pq.write_table(table, path, compression="snappy", use_dictionary=False, data_page_version="2.0")


def parquet_metadata(content: bytes, path: Path) -> None:
    pq.write_table(pa.table({content.decode(): [1]}).replace_schema_metadata({"a": content.decode()}), path)


def avro(content: bytes, path: Path) -> None:
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(content) + packer.flush()
    size = (2 * len(block)).to_bytes(2, "little")
    packed = bytes([size[0] & 0x7F | 0x80, (2 * len(block) >> 7) & 0x7F | 0x80, 2 * len(block) >> 14])
    path.write_bytes(b"Obj\x01\x02\x14avro.codec\x0edeflate\x00" + b"M" * 16 + b"\x02" + packed + block + b"M" * 16)


def sqlite(content: bytes, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table t (a, b)")
        connection.executemany("insert into t values (?, ?)", [("x" * 3000, content.decode()), ("y", b"z")])
        connection.commit()


def name_of_file(content: bytes, path: Path) -> None:
    folder = path / "-".join(content.decode().replace("/", "").split()[:3])[:200]
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"")


CONTAINERS = [
    plain,
    utf_16,
    utf_16_odd,
    zstd,
    zstd_torn,
    gzip_in_zstd,
    gzip_torn,
    parquet,
    parquet_statistics,
    parquet_metadata,
    avro,
    sqlite,
]


@pytest.mark.parametrize("contain", CONTAINERS, ids=[each.__name__ for each in CONTAINERS])
def test_every_class_in_every_disguise_is_found_in_every_container(
    contain: Callable[[bytes, Path], None], tmp_path: Path
) -> None:
    nest = Nest(1)
    forms = nest.forms("here", [*DISGUISES, RANDOM_ID, VERSION])
    nest.forms("nowhere", DISGUISES)
    contain("\n".join(part for form in forms for part in form.parts).encode(), tmp_path / "file")
    search = Search(nest.needles())
    search.folder(tmp_path)
    missed = {(form.canary.kind, form.disguise) for form in forms} - {
        (each.form.canary.kind, each.form.disguise) for each in search.found
    }
    assert not missed
    assert {each.door for each in search.found} == {"here"}


def test_a_name_of_a_file_or_folder_is_searched_too(tmp_path: Path) -> None:
    nest = Nest(2)
    (form,) = nest.forms("here", ["plain"], ["host name"])
    name_of_file(form.text.encode(), tmp_path / "folder")
    search = Search(nest.needles())
    search.folder(tmp_path)
    assert search.places_of("here") == {f"name of {tmp_path / 'folder' / form.text / 'file'}"}


@pytest.mark.parametrize("disguise", sorted(NUMERIC.keys() - {VERSION}))
def test_a_canary_that_is_a_number_is_found_in_columns_in_text_and_in_bytes(disguise: str, tmp_path: Path) -> None:
    for contained in ("bytes", "json", "parquet", "dictionary"):
        nest = Nest(3)
        forms = nest.numbers("here", disguise)
        values = pa.array(
            [form.share if disguise == "mantissa" else form.number for form in forms],
            pa.float64() if disguise == "mantissa" else pa.int64(),
        )
        file = tmp_path / contained
        if contained == "bytes":
            file.write_bytes(b"." + bytes(values.buffers()[1]))
        elif contained == "json":
            file.write_text(str(values.to_pylist()))
        else:
            if disguise == "microseconds":
                values = values.cast(pa.timestamp("us"))
            pq.write_table(pa.table({"a": values}), file, use_dictionary=contained == "dictionary", compression="zstd")
        search = Search(nest.needles())
        search.file(file)
        assert {each.form.canary.kind for each in search.found} == set(KINDS), contained


def test_nothing_is_found_where_nothing_is() -> None:
    nest = Nest(4)
    nest.forms("nowhere", DISGUISES)
    search = Search(nest.needles())
    other = Nest(5)
    for form in other.forms("elsewhere", DISGUISES):
        search.bytes_of("bytes", form.text.encode())
    search.bytes_of("bytes", NOISE)
    assert not search.found


def test_canaries_follow_from_their_seed_and_no_two_share_a_needle() -> None:
    first, again = Nest(6), Nest(6)
    for nest in (first, again):
        nest.forms("a", DISGUISES)
        nest.forms("b", DISGUISES)
        nest.numbers("c", "integer")
    assert first.planted == again.planted
    count = sum(len(list(form.needles())) for forms in first.planted.values() for form in forms)
    assert len(first.needles()) == count
    assert min(map(len, first.needles())) >= 6
