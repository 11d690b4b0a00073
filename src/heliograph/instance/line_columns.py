"""Recorded lines as columns: decoded into one type for each event, of whose fields the columns are made.

A plan has far more columns than any of its events has fields. A reader that fills all columns for every line spends
most of its time on values that are not there; here they cost nothing, and a column without any is not made.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Meta, defstruct

from heliograph.instance.new_columns import Numbers, Part, column_of_parts, column_per_group
from heliograph.plan.buffers import column_values
from heliograph.plan.changes import present_names
from heliograph.plan.columns import IDS, SMALL_WORDS, TIME, wire_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from heliograph.plan.model import EventDefinition, Plan

    Integers: TypeAlias = npt.NDArray[np.int64]

_SLICE_BYTES: Final = 128 << 10
_FEW: Final = 8
"""So many lines are looked at one by one where one of them is at fault."""
_Integer: Final = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_TYPES: Final[dict[pa.DataType, Any]] = {pa.int64(): _Integer, pa.float64(): float, pa.bool_(): bool, SMALL_WORDS: str}
_WORDS: Final = ("outcome", "version", "source", "actor")
_KEYS: Final = ("user", "session")
"""The product's own."""
_head = attrgetter("__class__", *_WORDS)
_person = attrgetter(*_KEYS)
_sequence, _time = attrgetter("sequence"), attrgetter("time")


class _Nameless(msgspec.Struct, tag_field="name", tag=""):
    """No event is of this type: with a single type in place of a union, msgspec would take a line without a name."""

    nothing: Annotated[int, Meta(ge=1, le=0)]


class _Kind(NamedTuple):
    """One event of the plan, under its present name or an earlier one."""

    name: str
    """The present one."""
    number: int
    properties: list[tuple[str, Callable[[Any], Any]]]


class LineColumns:
    """Makes columns of the lines of one plan's events."""

    def __init__(self, plan: Plan) -> None:
        schema = wire_schema(plan)
        self._properties = {name: schema.field(name).type for name in sorted(plan.property_kinds())}
        names = {name: name for name in plan.events} | present_names(plan)
        self._kinds: dict[type[msgspec.Struct], _Kind] = {}
        union: Any = _Nameless
        for number, (recorded, name) in enumerate(names.items()):
            event = plan.events[name]
            line_type = self._line_type(recorded, event)
            self._kinds[line_type] = _Kind(name, number, [(key, attrgetter(key)) for key in event.properties])
            union = union | line_type
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(union)

    def _line_type(self, name: str, event: EventDefinition) -> type[msgspec.Struct]:
        """Return the type of one event's line; fields in the order in which a recorder writes are found at once."""
        fields: list[Any] = [("sequence", _Integer), ("time", str)]
        fields += [(key, str | None, None) for key in (*_KEYS, *_WORDS)]
        fields += line_fields({key: self._properties[key] for key in event.properties})
        return defstruct(name, fields, tag_field="name", tag=name, gc=False, forbid_unknown_fields=True, kw_only=True)

    def read(self, body: bytes, mend: Callable[[list[bytes]], list[bytes]]) -> pa.Table:
        """Return the events of lines: the columns that every event may have, and those properties that have a value.

        Names are the present ones. Of words and keys only those are there that a row uses.

        Args:
            body: Lines, joined.
            mend: Is given lines of which some are not as the plan declares its events, and returns those that are.
        """
        events: list[Any] = []
        times: list[Integers] = []
        for lines in _slices(body):
            for found, moments in self._decode(lines, mend):
                events += found
                times.append(moments)
        return self._table(events, np.concatenate(times) if times else np.empty(0, np.int64))

    def _decode(
        self, lines: bytes, mend: Callable[[list[bytes]], list[bytes]] | None
    ) -> Iterator[tuple[list[Any], Integers]]:
        """Yield the events of some lines, and their times; where there is a fault, narrow down where it is."""
        try:
            events = self._decoder.decode_lines(lines)
            times = pa.array([*map(_time, events)], pa.string()).cast(TIME)
        except (msgspec.DecodeError, UnicodeError, RecursionError, pa.ArrowInvalid):
            if mend is None:
                raise
        else:
            if len(events) == lines.count(b"\n") + 1:
                yield events, column_values(times.view(pa.int64()))
                return
        one_by_one = lines.split(b"\n")
        if len(one_by_one) > _FEW:
            middle = len(one_by_one) // 2
            for part in (one_by_one[:middle], one_by_one[middle:]):
                yield from self._decode(b"\n".join(part), mend)
        elif mend is not None and (kept := mend(one_by_one)):
            yield from self._decode(b"\n".join(kept), None)

    def _table(self, events: Sequence[Any], times: Integers) -> pa.Table:
        rows = len(events)
        heads, people = Numbers(), Numbers()
        # A lookup of several words at once takes little more than that of one, and few of their combinations differ.
        head_of = heads.of(map(_head, events), rows)
        person_of = people.of(map(_person, events), rows)
        kinds = [self._kinds[head[0]] for head in heads]
        columns = {
            "name": column_per_group([kind.name for kind in kinds], head_of, SMALL_WORDS),
            "sequence": pa.array(np.fromiter(map(_sequence, events), np.int64, rows)),
            "time": pa.Array.from_buffers(TIME, rows, [None, pa.py_buffer(times)]),
        }
        for place, name in enumerate(_KEYS):
            columns[name] = column_per_group([person[place] for person in people], person_of, IDS)
        for place, name in enumerate(_WORDS, 1):
            columns[name] = column_per_group([head[place] for head in heads], head_of, SMALL_WORDS)
        if rows:
            number_of = np.array([kind.number for kind in kinds], np.int32)[head_of]
            columns |= self._property_columns(events, number_of, {kind.number: kind for kind in kinds})
        return pa.table(columns)

    def _property_columns(
        self, events: Sequence[Any], number_of: npt.NDArray[np.int32], kinds: dict[int, _Kind]
    ) -> dict[str, pa.Array]:
        rows = len(events)
        order = np.argsort(number_of, kind="stable")
        alike = np.fromiter(events, object, rows)[order]
        begins = np.flatnonzero(np.diff(number_of[order], prepend=-1)).tolist()
        found: dict[str, list[Part]] = {}
        for begin, end in zip(begins, [*begins[1:], rows], strict=True):
            those = alike[begin:end].tolist()
            for key, value_of in kinds[int(number_of[order[begin]])].properties:
                found.setdefault(key, []).append(Part(order[begin:end], [*map(value_of, those)]))
        columns = {
            key: column_of_parts(found[key], kind, rows) for key, kind in self._properties.items() if key in found
        }
        return {key: column for key, column in columns.items() if column is not None}


def line_fields(kinds: Mapping[str, pa.DataType]) -> list[tuple[str, Any, None]]:
    """Return the fields of a line, or of its properties, that have values of columns of these types, or none."""
    return [(key, _TYPES[kind] | None, None) for key, kind in kinds.items()]


def _slices(body: bytes) -> Iterator[bytes]:
    """Yield whole lines, some hundreds at a time."""
    start = 0
    while start < len(body):
        end = body.find(b"\n", start + _SLICE_BYTES)
        end = len(body) if end < 0 else end
        yield body[start:end]
        start = end + 1
