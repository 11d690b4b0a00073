"""From recorded lines to what is sent: rounded, checked against the plan, with random ids, as one Arrow batch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.json

from heliograph.event import UNDECLARED, Verdict
from heliograph.instance.present_names import PresentNames
from heliograph.instance.pseudonyms import SESSION, USER, Pseudonyms
from heliograph.plan.buffers import compress, write_arrow
from heliograph.plan.coarse_columns import ColumnCoarsener
from heliograph.plan.coarsen import coarsen_all
from heliograph.plan.columns import ColumnChecker, plain_type
from heliograph.plan.lines import LineChecker
from heliograph.wire import Counts, Skeleton, VerdictCounts, merge_counts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from heliograph.instance.actors import Marks
    from heliograph.instance.refusals import Refusals
    from heliograph.plan.model import Plan

_MICROSECOND: Final = 1_000_000
_BLOCK_BYTES: Final = 4 << 20
_RAW_IDS: Final = {"user_id": ("user", USER), "session_id": ("session", SESSION)}
"""The wire's column, the outbox's field that stands for it, and the kind of its random ids."""


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
    """Builds batches of one plan."""

    def __init__(self, plan: Plan, pseudonyms: Pseudonyms) -> None:
        self._coarsener = ColumnCoarsener(plan)
        self._columns = ColumnChecker(plan)
        self._lines = LineChecker(plan)
        self._properties = {name: event.properties for name, event in plan.events.items()}
        self._names = frozenset(plan.events)
        self._pseudonyms = pseudonyms
        self._present = PresentNames(plan)
        raw = {wire: raw for wire, (raw, _) in _RAW_IDS.items()}
        self._parse = pyarrow.json.ParseOptions(
            explicit_schema=pa.schema(
                [pa.field(raw.get(field.name, field.name), plain_type(field.type)) for field in self._columns.schema]
            ),
            unexpected_field_behavior="error",
        )

    def build(
        self,
        lines: Sequence[bytes],
        *,
        numbers: int,
        latest: datetime,
        refusals: Refusals | None = None,
        marks: Marks | None = None,
    ) -> Batch:
        """Build a batch of the outbox's lines.

        Args:
            lines: Events as recorded, in order.
            numbers: How many sequence numbers they account for; those without a line are lost.
            latest: The latest time that an event may have.
            refusals: Who has said no to what.
            marks: Who is none of the customer's own people.
        """
        build = partial(self._build, lines, numbers=numbers, latest=latest, refusals=refusals, marks=marks)
        batch = build(singly=False)
        if any(Verdict.UNDECLARED_PROPERTY in verdicts for verdicts in batch.absent.values()):
            # Another event declares the property, so that it is a column: it is left out of this one all the same.
            batch = build(singly=True)
        return batch

    def _build(
        self,
        lines: Sequence[bytes],
        *,
        numbers: int,
        latest: datetime,
        refusals: Refusals | None,
        marks: Marks | None,
        singly: bool,
    ) -> Batch:
        absent: VerdictCounts = {}
        stripped: dict[str, int] = {}
        if numbers > len(lines):
            absent[UNDECLARED] = {Verdict.LOST: numbers - len(lines)}
        try:
            table = self._present.rename(self._read(self._mend(lines, absent, stripped, latest) if singly else lines))
        except pa.ArrowInvalid:
            # Some line is not as the plan says. Going through them one by one is slow, and tells which.
            table = self._read(self._mend(lines, absent, stripped, latest))
        if refusals is not None:  # before anybody gets a random id
            table, held_back = refusals.keep(table, self._names)
            merge_counts(absent, held_back)
        if marks is not None:
            table = marks.mark(table)
        batch = self._coarsener.coarsen(self._to_wire(table))
        findings = self._columns.check(batch, latest=int(latest.timestamp() * _MICROSECOND))
        if findings.codes.any():
            merge_counts(absent, self._columns.rejected_counts(findings))
        batch = self._columns.keep_accepted(batch, findings)
        counts = self._columns.accepted_counts(findings)
        return Batch(compress(write_arrow(batch)), batch.num_rows, absent, stripped, counts)

    def _read(self, lines: Sequence[bytes]) -> pa.Table:
        if not lines:
            return self._parse.explicit_schema.empty_table()
        return pyarrow.json.read_json(
            pa.BufferReader(b"\n".join(lines)),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=self._parse,
        )

    def _mend(
        self, lines: Sequence[bytes], absent: VerdictCounts, stripped: dict[str, int], latest: datetime
    ) -> list[bytes]:
        """Return the lines that the plan allows, rounded, and without properties that it does not declare."""
        kept = []
        for line in lines:
            try:
                event = msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeDecodeError):
                merge_counts(absent, {UNDECLARED: {Verdict.MALFORMED: 1}})
                continue
            raw_ids = {raw: event.pop(raw) for raw, _ in _RAW_IDS.values() if raw in event}
            if any(value is not None and not isinstance(value, str) for value in raw_ids.values()):
                merge_counts(absent, {self._told(event.get("name")): {Verdict.INVALID_ENVELOPE: 1}})
                continue
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
                merge_counts(absent, {checked.name: {checked.verdict: 1}})
            else:
                kept.append(msgspec.json.encode(msgspec.to_builtins(checked) | raw_ids))
        return kept

    def _told(self, name: object) -> str:
        return name if isinstance(name, str) and name in self._names else UNDECLARED

    def _to_wire(self, table: pa.Table) -> pa.RecordBatch:
        columns = []
        for field in self._columns.schema:
            if field.name in _RAW_IDS:
                raw, kind = _RAW_IDS[field.name]
                columns.append(self._replace(table.column(raw), kind, field.type))
            else:
                column = table.column(field.name).combine_chunks()
                columns.append(column if column.type == field.type else column.dictionary_encode().cast(field.type))
        return pa.record_batch(columns, schema=self._columns.schema)

    def _replace(self, raw: pa.ChunkedArray, kind: str, wire_type: pa.DataType) -> pa.Array:
        encoded = raw.combine_chunks()
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.dictionary_encode()
        ids = self._pseudonyms.ids(kind, encoded.dictionary.to_pylist())
        return pa.DictionaryArray.from_arrays(
            encoded.indices.cast(wire_type.index_type), pa.array(ids, wire_type.value_type)
        )


_ENVELOPE: Final = frozenset({"name", "sequence", "time", "outcome", "version", "source", "actor"})
