"""From recorded lines to what is sent: rounded, checked against the plan, with random ids, as one Arrow batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import pyarrow as pa

from heliograph.event import UNDECLARED, Verdict
from heliograph.instance.compact_columns import CompactColumns, by_number, may_be_compact
from heliograph.instance.machine_code import instance_code
from heliograph.instance.present_names import PresentNames
from heliograph.instance.pseudonyms import USER, Pseudonyms
from heliograph.instance.quick_lines import QuickLines
from heliograph.plan.buffers import StreamWriter, compress, in_order_of_appearance
from heliograph.plan.coarse_columns import ColumnCoarsener
from heliograph.plan.coarsen import coarsen_all
from heliograph.plan.columns import ColumnChecker
from heliograph.plan.lines import LineChecker
from heliograph.wire import Counts, Skeleton, VerdictCounts, merge_counts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from heliograph.instance.actors import Marks
    from heliograph.instance.machine_code import InstanceCode
    from heliograph.instance.refusals import Refusals
    from heliograph.plan.model import Plan

_MICROSECOND: Final = 1_000_000
_KEYS: Final = ("user", "session")
"""The product's own ids. The session's stays: no question asks for it, and it would be most of the bytes."""


class Recorded(NamedTuple):
    """Events of the outbox as one plan reads them."""

    table: pa.Table
    """Those that the plan allows so far, as columns, with the product's own ids; see `LineColumns.read`."""
    absent: VerdictCounts
    """The others, by name and verdict."""
    unread: list[bytes]
    """The lines of those others."""
    stripped: dict[str, int]
    """Properties that the plan does not declare and that were therefore left out, by event name."""
    in_order: bool = False
    """Whether it is known that words and keys stand in the order in which rows have them, each once."""


class Batch(NamedTuple):
    """A batch ready to be sent."""

    body: bytes
    """An Arrow IPC stream in one zstd frame."""
    events: int
    absent: VerdictCounts
    """What stays on the instance, and why."""
    stripped: dict[str, int]
    """Properties that the plan does not declare and that were therefore left out, by event name."""
    counts: Counts
    """The events by name."""


class BatchBuilder:
    """Builds batches of one plan.

    Args:
        plan: The plan.
        pseudonyms: Gives random ids.
        code: What has the loops for a long backlog.
    """

    def __init__(self, plan: Plan, pseudonyms: Pseudonyms, code: InstanceCode | None = None) -> None:
        self.code: Final = code or instance_code()
        self._coarsener = ColumnCoarsener(plan)
        self._columns = ColumnChecker(plan)
        self._fields = [*self._columns.schema]
        self._lines = LineChecker(plan)
        self._properties = {name: event.properties for name, event in plan.events.items()}
        self._names = frozenset(plan.events)
        self._pseudonyms = pseudonyms
        self._present = PresentNames(plan)
        self._line_columns = CompactColumns(plan)
        self._quick_lines = QuickLines(plan)
        self._writer = StreamWriter()

    def read(self, body: bytes, *, latest: datetime) -> Recorded:
        """Read the outbox's lines: nothing but what they and the plan say counts for it.

        Args:
            body: Events as recorded, in order; lines, joined.
            latest: The latest time that an event may have.
        """
        recorded = Recorded(pa.table({}), {}, [], {})

        def mend(lines: Sequence[bytes]) -> list[bytes]:
            return self._mend(lines, recorded, latest)

        loops = self.code.loops()
        if loops is not None and may_be_compact(body):
            table, others = self._quick_lines.read(body, loops.read_lines)
            if table.num_rows:
                if not others:
                    return recorded._replace(table=table, in_order=True)
                rest = self._line_columns.read(b"\n".join(others), mend)
                return recorded._replace(table=by_number(table, rest))
        else:
            self.code.worked(body.count(b"\n") + 1)
        return recorded._replace(table=self._line_columns.read(body, mend))

    def build(
        self,
        recorded: Recorded | Sequence[bytes],
        *,
        numbers: int,
        latest: datetime,
        refusals: Refusals | None = None,
        marks: Marks | None = None,
    ) -> Batch:
        """Build a batch.

        Args:
            recorded: Events as this builder has read them, or as lines.
            numbers: How many sequence numbers they account for; those without a line are lost.
            latest: The latest time that an event may have.
            refusals: Who has said no to what.
            marks: Who is none of the customer's own people.
        """
        if not isinstance(recorded, Recorded):
            recorded = self.read(b"\n".join(recorded), latest=latest)
        table = recorded.table
        absent: VerdictCounts = {}
        if lost := numbers - table.num_rows - len(recorded.unread):
            absent[UNDECLARED] = {Verdict.LOST: lost}
        merge_counts(absent, recorded.absent)
        if refusals is not None:  # before anybody gets a random id
            table, held_back = refusals.keep(table, self._names)
            merge_counts(absent, held_back)
        if marks is not None:
            table = marks.mark(table)
        in_order = recorded.in_order and table is recorded.table
        batch = self._coarsener.coarsen(self._to_wire(table, in_order=in_order))
        findings = self._columns.check(batch, latest=int(latest.timestamp() * _MICROSECOND))
        if findings.codes.any():
            merge_counts(absent, self._columns.rejected_counts(findings))
        batch = self._columns.keep_accepted(batch, findings)
        counts = self._columns.accepted_counts(findings)
        return Batch(compress(self._writer.write(batch)), batch.num_rows, absent, recorded.stripped, counts)

    def _mend(self, lines: Sequence[bytes], recorded: Recorded, latest: datetime) -> list[bytes]:
        """Return the lines that the plan allows, rounded, and without properties that it does not declare.

        The others, and what was left out, are added to `recorded`.
        """
        kept = []
        for line in lines:
            mended = self._mend_one(line, recorded.stripped, latest)
            if isinstance(mended, bytes):
                kept.append(mended)
            else:
                recorded.unread.append(line)
                merge_counts(recorded.absent, mended)
        return kept

    def _mend_one(self, line: bytes, stripped: dict[str, int], latest: datetime) -> bytes | VerdictCounts:
        """Return a line as the plan allows it, or why it does not."""
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {UNDECLARED: {Verdict.MALFORMED: 1}}
        raw_ids = {key: event.pop(key) for key in _KEYS if key in event}
        if any(value is not None and not isinstance(value, str) for value in raw_ids.values()):
            return {self._told(event.get("name")): {Verdict.INVALID_ENVELOPE: 1}}
        name = event.get("name")
        if isinstance(name, str):
            name = event["name"] = self._present.name(name)
        declared = self._properties.get(name) if isinstance(name, str) else None
        if declared is not None:
            undeclared = event.keys() - declared.keys() - _ENVELOPE
            for key in undeclared:
                del event[key]
            if undeclared:
                stripped[str(name)] = stripped.get(str(name), 0) + len(undeclared)
            event = coarsen_all(event, declared)
        checked = self._lines.decode_one(msgspec.json.encode(event), latest=latest)
        if isinstance(checked, Skeleton):
            return {checked.name: {checked.verdict: 1}}
        return msgspec.json.encode(msgspec.to_builtins(checked) | raw_ids)

    def _told(self, name: object) -> str:
        return name if isinstance(name, str) and name in self._names else UNDECLARED

    def _to_wire(self, table: pa.Table, *, in_order: bool) -> pa.RecordBatch:
        """Return the columns of the wire that have a value, and those that every batch has, with random ids.

        Words stand in the order in which events have them, and so ids are drawn: which lines are read in one go and
        which one by one depends on the letters of a name, and must show in nothing that leaves.
        """
        columns, fields = [], []
        recorded = dict(zip(table.column_names, table.columns, strict=True))
        for field in self._fields:
            is_user = field.name == "user_id"
            raw = "user" if is_user else field.name
            if raw not in recorded:
                continue
            chunks = recorded[raw]
            column = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
            if field.nullable and column.null_count == len(column):
                continue
            if pa.types.is_dictionary(column.type) and not in_order:
                column = in_order_of_appearance(column)
            columns.append(self._replace(column) if is_user else column)
            fields.append(field)
        return pa.record_batch(columns, schema=pa.schema(fields))

    def _replace(self, keys: pa.DictionaryArray) -> pa.Array:
        ids = self._pseudonyms.ids(USER, keys.dictionary.to_pylist())
        return pa.DictionaryArray.from_arrays(keys.indices, pa.array(ids, pa.string()), safe=False)


_ENVELOPE: Final = frozenset({"name", "sequence", "time", "outcome", "version", "source", "actor"})
