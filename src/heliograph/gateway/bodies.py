"""Bodies of deliveries: inflate them within bounds, and check them in either format.

Whatever the format, the result is the same: counts by name, skeletons of what was rejected, and the bytes to store.
These are what the gateway itself writes for the accepted events, so that nothing is kept but what was checked: not a
word where there is no value, a second value of one key, a comment of gzip's, or what follows the end of a frame.
"""

from __future__ import annotations

import struct
from collections import Counter
from datetime import UTC
from itertools import islice, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import zstandard
from isal import igzip_lib, isal_zlib

from heliograph.gateway.arrow_messages import refuse_hidden_content, schema_message
from heliograph.gateway.line_looks import LineLook
from heliograph.gateway.machine_code import gateway_code, line_code
from heliograph.gateway.problems import Refusal, RefusalError
from heliograph.gateway.quick_look import QuickLook
from heliograph.plan.buffers import WrittenForm, column_values, compress, write_arrow
from heliograph.plan.columns import ColumnChecker, ColumnsError
from heliograph.plan.lines import LineChecker
from heliograph.wire import ARROW, NDJSON, Counts, Skeleton, VerdictCounts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from heliograph.gateway.machine_code import GatewayCode, LineCode
    from heliograph.plan.model import Plan

STORED_ENCODING: Final = "zstd"
"""How a body is compressed in the log, whatever it was on the wire."""
MOST_REJECTIONS: Final = 100
"""Skeletons that are kept and answered, of one delivery."""
MOST_EVENTS: Final = 100_000
"""Events, or lines, of one delivery, and words of one Arrow dictionary: nobody else is answered meanwhile."""
_MOST_COLUMNS: Final = 1_000
_SLICE_BYTES: Final = 192 << 10
"""Of lines that are decoded together: larger pieces fall out of the processor's cache."""
_DESCRIPTOR: Final = 4
_MEANINGLESS_BITS: Final = 0b00011000
_REPEATED_BYTE: Final = 1
_COMPRESSED_BLOCK: Final = 2
_SMALLEST_BLOCK: Final = 16 << 10
"""Of what compressors put in one block, all but the last; the largest is 128 KiB."""
_encode_lines: Final = msgspec.json.Encoder().encode_lines
_zone: Final = attrgetter("time.tzinfo")
_sequence: Final = attrgetter("sequence")
_MICROSECOND: Final = 1_000_000


class Checked(NamedTuple):
    """A body whose every event has a verdict."""

    rows: int
    first: int
    """The lowest sequence number in it; 0 without rows."""
    last: int
    accepted: Counts
    rejected: VerdictCounts
    rejections: list[Skeleton]
    body: bytes
    """The accepted events alone, the content itself if it holds no more; and at last compressed with zstd."""


def inflate(body: bytes, encoding: str, most: int) -> bytes:
    """Return a body decompressed, at most `most` bytes.

    Raises:
        RefusalError: Damaged, larger than allowed, or of an unknown encoding.
    """
    if encoding == "zstd":
        return _inflate_zstd(body, most)
    if encoding == "gzip":
        return _inflate_gzip(body, most)
    if encoding in ("", "identity"):
        if len(body) > most:
            raise RefusalError(Refusal.INFLATED_TOO_LARGE, f"the limit is {most:,} bytes")
        return body
    raise RefusalError(Refusal.UNKNOWN_ENCODING)


def _inflate_zstd(body: bytes, most: int) -> bytes:
    try:
        frame = zstandard.get_frame_parameters(body)
        if frame.content_size == zstandard.CONTENTSIZE_UNKNOWN:
            raise RefusalError(Refusal.DAMAGED_BODY, "the zstd frame does not say how large its content is")
        if frame.content_size > most:
            raise RefusalError(Refusal.INFLATED_TOO_LARGE, f"{frame.content_size:,} bytes; the limit is {most:,}")
        # One decompressor for each body: sharing one between threads corrupts data. It writes into a buffer of the
        # declared size, so that a frame which lies about its content fails instead of growing.
        return zstandard.ZstdDecompressor().decompress(body, allow_extra_data=False)
    except zstandard.ZstdError:
        raise RefusalError(Refusal.DAMAGED_BODY, "it is not exactly one whole zstd frame") from None


def _inflate_gzip(body: bytes, most: int) -> bytes:
    inflater = isal_zlib.decompressobj(wbits=31)
    try:
        content: bytes = inflater.decompress(body, most + 1)
    except igzip_lib.IsalError:  # type: ignore[misc] # isal's stub declares it as an instance
        raise RefusalError(Refusal.DAMAGED_BODY, "it is not gzip, or was damaged on the way") from None
    if len(content) > most:
        raise RefusalError(Refusal.INFLATED_TOO_LARGE, f"the limit is {most:,} bytes")
    if not inflater.eof or inflater.unused_data:
        raise RefusalError(Refusal.DAMAGED_BODY, "it is not exactly one whole gzip member")
    return content


def is_plain_frame(frame: bytes, content_bytes: int) -> bool:
    """Tell whether a valid zstd frame is made as compressors make them, with no place for bytes beside its content.

    A block may be empty and still hold bytes that no decompressor gives out, and any number of blocks may (RFC 8878,
    section 3.1.1.2); the header has a bit that means nothing (3.1.1.1.1).
    """
    if frame[_DESCRIPTOR] & _MEANINGLESS_BITS:
        return False
    offset = zstandard.frame_header_size(frame)
    for _ in range(1 + content_bytes // _SMALLEST_BLOCK):
        header = int.from_bytes(frame[offset : offset + 3], "little")
        is_last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind != _COMPRESSED_BLOCK and size == 0:
            return False
        if is_last:
            return True
        offset += 3 + (1 if kind == _REPEATED_BYTE else size)
    return False


class BodyChecker:
    """The plan, compiled for both formats.

    Args:
        plan: The plan.
        machine_code: What has the loops for a quick look at bodies of Arrow.
        line_loop: What has the loop for a quick look at lines.
    """

    def __init__(self, plan: Plan, machine_code: GatewayCode | None = None, line_loop: LineCode | None = None) -> None:
        self._columns = ColumnChecker(plan)
        self._machine_code = machine_code or gateway_code()
        self._quick_look = QuickLook(plan, self._columns, MOST_EVENTS)
        self._lines = LineChecker(plan)
        self._line_loop = line_loop or line_code()
        self._line_look = LineLook(plan, self._columns.wall.looks, MOST_EVENTS)
        self._written = WrittenForm()

    def check(self, body: bytes, encoding: str, content_type: str, *, most: int, latest: datetime) -> Checked:
        """Give a verdict on every event of a body.

        Args:
            body: As delivered.
            encoding: Its content encoding.
            content_type: Its format.
            most: Bound of its decompressed size, in bytes.
            latest: The latest time that an event may have.

        Raises:
            RefusalError: The body as a whole cannot be read, so that its events cannot be told apart.
        """
        content = inflate(body, encoding, most)
        if content_type == ARROW:
            checked = self._check_arrow(content, latest)
        elif content_type == NDJSON:
            checked = self._check_lines(content, latest)
        else:
            raise RefusalError(Refusal.UNKNOWN_FORMAT)
        # Our own exporter writes what we would: the work of compressing it again can be saved.
        as_delivered = (
            encoding == STORED_ENCODING and content and checked.body is content and is_plain_frame(body, len(content))
        )
        return checked._replace(body=body if as_delivered else compress(checked.body))

    def _check_arrow(self, content: bytes, latest: datetime) -> Checked:
        checker, loops = self._columns, self._machine_code.loops()
        microseconds = int(latest.timestamp() * _MICROSECOND)
        if loops is not None:
            faultless = self._quick_look.faultless(content, latest=microseconds, loops=loops)
            if faultless is not None:
                rows, first, last, counts = faultless
                return Checked(rows, first, last, counts, {}, [], content)
        batch = read_arrow(content)
        self._machine_code.worked(batch.num_rows)
        try:
            findings = checker.check(batch, latest=microseconds, form=schema_message(content))
        except ColumnsError as error:
            raise RefusalError(Refusal.BAD_COLUMNS, str(error)) from error
        sequence = batch.column("sequence")
        if sequence.null_count:
            raise RefusalError(Refusal.BAD_SEQUENCE, "a row has no sequence number")
        numbers = column_values(sequence)
        if not bool(np.all(numbers[1:] > numbers[:-1])):
            raise RefusalError(Refusal.BAD_SEQUENCE, "sequence numbers must rise from row to row")
        all_accepted = not findings.codes.any()
        kept = checker.keep_accepted(batch, findings)
        is_written_so = self._written.is_of(kept, content)
        if loops is not None and kept is batch and is_written_so:
            self._quick_look.learn(batch, content, loops)
        return Checked(
            rows=batch.num_rows,
            first=int(numbers[0]) if len(numbers) else 0,
            last=int(numbers[-1]) if len(numbers) else 0,
            accepted=checker.accepted_counts(findings),
            rejected={} if all_accepted else checker.rejected_counts(findings),
            rejections=[] if all_accepted else checker.skeletons(batch, findings, MOST_REJECTIONS),
            body=content if is_written_so else write_arrow(kept),
        )

    def _check_lines(self, content: bytes, latest: datetime) -> Checked:
        loop = self._line_loop.loops()
        if loop is not None:
            microseconds = int(latest.timestamp() * _MICROSECOND)
            faultless = self._line_look.faultless(content, latest=microseconds, read_lines=loop)
            if faultless is not None:
                return Checked(*faultless, {}, [], content)
        tally = _LineTally(self._lines)
        kept: list[bytes] = []
        for lines in _slices(content):
            kept += self._keep_accepted(lines, latest, tally)
            _refuse_too_many(tally.rows, "events")  # there may be many on one line
        self._line_loop.worked(tally.rows)
        return tally.finish(_joined(kept, content))

    def _keep_accepted(self, lines: bytes, latest: datetime, tally: _LineTally) -> Iterator[bytes]:
        """Give a verdict on each line of a slice, and yield those that are accepted as the gateway writes them."""
        events = self._lines.decode_all(lines, latest=latest)
        if events:
            tally.accept(events)
            # Written and let go at once: events that are kept fill the processor's cache.
            yield _write_lines(events)
            return
        # Before any is looked at: a few kilobytes can decompress to millions of lines.
        tally.singly += lines.count(b"\n")
        _refuse_too_many(tally.singly, "lines")
        for line in lines.splitlines():
            if not line.strip():
                continue
            event = self._lines.decode_one(line, latest=latest)
            if isinstance(event, Skeleton):
                tally.reject(event)
            else:
                tally.accept([event])
                yield _write_lines([event])


def _joined(kept: list[bytes], content: bytes) -> bytes:
    """Return lines that are kept behind each other; `content` itself, if they are all of it.

    A file of lines may end with or without a line's end: both are what we would write.
    """
    written = b"".join(kept)
    if not content.endswith(b"\n"):
        written = written[:-1]
    return content if written == content else written


def _write_lines(events: list[Any]) -> bytes:
    """Return accepted events as lines, with every time in UTC: the zone it was told in tells where its user is."""
    if {*map(_zone, events)} != {UTC}:
        for event in events:
            event.time = event.time.astimezone(UTC)
    return _encode_lines(events)


class _LineTally:
    """Counts the lines of one body, and sees that their sequence numbers rise."""

    def __init__(self, checker: LineChecker) -> None:
        self._checker = checker
        self._accepted: Counter[str] = Counter()
        self.rows = 0
        self.singly = 0
        """Lines that were looked at one by one."""
        self._first = 0
        self._last = 0
        self.rejected: VerdictCounts = {}
        self._rejections: list[Skeleton] = []

    def accept(self, events: list[Any]) -> None:
        names = self._checker.names()
        for kind, count in Counter(map(type, events)).items():
            self._accepted[names[kind]] += count
        numbers = [*map(_sequence, events)]
        without_gaps = numbers == [*range(numbers[0], numbers[0] + len(numbers))]
        rise = without_gaps or all(low < high for low, high in pairwise(numbers))
        self._follow(numbers[0], numbers[-1], len(numbers), rise=rise)

    def reject(self, skeleton: Skeleton) -> None:
        verdicts = self.rejected.setdefault(skeleton.name, {})
        verdicts[skeleton.verdict] = verdicts.get(skeleton.verdict, 0) + 1
        if len(self._rejections) < MOST_REJECTIONS:
            self._rejections.append(skeleton)
        if skeleton.sequence is None:
            self.rows += 1
        else:
            self._follow(skeleton.sequence, skeleton.sequence, 1, rise=True)

    def _follow(self, first: int, last: int, count: int, *, rise: bool) -> None:
        if first <= self._last or not rise:
            raise RefusalError(Refusal.BAD_SEQUENCE, "sequence numbers must rise from line to line")
        self._first = self._first or first
        self._last = last
        self.rows += count

    def finish(self, body: bytes) -> Checked:
        accepted = dict(self._accepted)
        return Checked(self.rows, self._first, self._last, accepted, self.rejected, self._rejections, body)


def _slices(content: bytes) -> Iterator[bytes]:
    """Yield the content in whole lines, some `_SLICE_BYTES` at a time."""
    start = 0
    while start < len(content):
        end = content.rfind(b"\n", start, start + _SLICE_BYTES) + 1
        if end == 0:
            end = content.find(b"\n", start + _SLICE_BYTES) + 1
        if end == 0 or len(content) - start <= _SLICE_BYTES:
            end = len(content)
        yield content[start:end]
        start = end


def read_arrow(content: bytes) -> pa.RecordBatch:
    """Return the one batch of an Arrow IPC stream, with every offset and index checked.

    Raises:
        RefusalError: It is no such stream, damaged, or hostile.
    """
    source = pa.BufferReader(content)
    try:
        refuse_hidden_content(content)
        with pa.ipc.open_stream(source) as reader:
            if len(reader.schema.names) > _MOST_COLUMNS:  # reading them sees that they are text, too
                raise RefusalError(Refusal.BAD_COLUMNS, f"more than {_MOST_COLUMNS:,} columns")
            batches = list(islice(reader, 2))
        if len(batches) == 1 and source.tell() == len(content):
            batches[0].validate(full=True)
            _ = batches[0].schema.names  # raises where a column's name is no text, which Arrow does not validate
            _refuse_too_many(batches[0].num_rows, "rows")
            for position, kind in enumerate(batches[0].schema.types):
                if isinstance(kind, pa.DictionaryType):
                    _refuse_too_many(len(batches[0].column(position).dictionary), "words in a dictionary")
            return batches[0]
    # The KeyError is of words of a type for which PyArrow has no class, such as spans of months.
    except (pa.ArrowException, OSError, ValueError, IndexError, KeyError, struct.error):
        # Without the cause, here and above: a library's message may repeat what it could not read.
        raise RefusalError(Refusal.DAMAGED_BODY, "it is not an Arrow IPC stream, or was damaged on the way") from None
    raise RefusalError(Refusal.DAMAGED_BODY, "an Arrow IPC stream of exactly one record batch is expected")


def _refuse_too_many(count: int, what: str) -> None:
    if count > MOST_EVENTS:
        raise RefusalError(Refusal.INFLATED_TOO_LARGE, f"{count:,} {what}; the limit is {MOST_EVENTS:,}")
