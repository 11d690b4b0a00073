"""`heliograph.plan.coarsen` for columns: all rows of a batch at once, each by what its own event declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np

from heliograph.plan.buffers import column_values, rows_with_value, with_values
from heliograph.plan.coarsen import least, steps_in_one
from heliograph.plan.model import CountProperty, DurationProperty, IntegerProperty, NumberProperty

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt
    import pyarrow as pa

    from heliograph.plan.model import Plan, Property

    Events: TypeAlias = npt.NDArray[np.signedinteger[Any]]
    """Of each row, the index of its event in the plan; -1 for none."""
    Values: TypeAlias = npt.NDArray[Any]
    Booleans: TypeAlias = npt.NDArray[np.bool_]


def coarse_values(values: Values, kind: Property) -> Values:
    """Return what leaves in the place of `values`: int64, or float64 for numbers, as `coarsen` does with each."""
    match kind:
        case IntegerProperty() | DurationProperty() if kind.precision > 1:
            inside = (values >= least(kind)) & (values <= kind.maximum)
            steps = values // kind.precision
            twice = (values - steps * kind.precision) * 2
            steps += (twice > kind.precision) | ((twice == kind.precision) & (steps % 2 == 1))
            return np.where(inside, steps * kind.precision, values)
        case NumberProperty() if kind.precision is not None:
            inside = (values >= kind.minimum) & (values <= kind.maximum)
            steps_a_unit = float(steps_in_one(kind.precision))
            # Adding zero makes negative zero, which rounding gives, the one zero that there is in decimals.
            rounded = np.rint(np.where(inside, values, 0.0) * steps_a_unit) / steps_a_unit + 0.0
            return np.where(inside, rounded, values)
        case CountProperty():
            buckets = np.array(kind.buckets, np.int64)
            places = np.searchsorted(buckets, values, side="right") - 1
            return np.where(places >= 0, buckets[places], values)
        case _:
            return values


def are_coarse(values: Values, kind: Property) -> Booleans:
    """Tell which of `values` rounding leaves as they are; of those out of range, anything."""
    match kind:
        case IntegerProperty() | DurationProperty() if kind.precision > 1:
            rounded: Booleans = values % kind.precision == 0
        case NumberProperty() if kind.precision is not None:
            steps_a_unit = float(steps_in_one(kind.precision))
            within = np.clip(values, kind.minimum, kind.maximum)  # so that no product is too large
            rounded = np.rint(within * steps_a_unit) / steps_a_unit == within
        case CountProperty():
            buckets = np.array(kind.buckets, np.int64)
            rounded = buckets[np.searchsorted(buckets, values, side="right") - 1] == values
        case _:
            rounded = np.ones(len(values), np.bool_)
    return rounded


def event_indices(names: pa.DictionaryArray, indices: Mapping[str, int]) -> Events:
    """Return the index of each row's event; -1 where it has none in `indices`."""
    index = np.array([indices.get(name, -1) for name in names.dictionary.to_pylist()], np.int16)
    if names.null_count == 0:
        known: Events = index[column_values(names.indices)]
        return known
    events = np.full(len(names), -1, np.int16)
    rows = rows_with_value(names)
    events[rows] = index[column_values(names.indices)[rows]]
    return events


class CoarseProperty:
    """One property as each event of the plan declares it; events that round it alike are done together."""

    def __init__(self, definitions: Sequence[Property | None]) -> None:
        self._kinds: list[Property] = []
        # The last place stands for undeclared events, whose index is -1.
        self._kind_of = np.array([*map(self._number, definitions), -1], np.int16)
        declared = [number for number, each in zip(self._kind_of, definitions, strict=False) if each is not None]
        # As nearly always: then no row needs to be looked at. A value of an event that lacks the property is refused.
        self._only = self._kinds[0] if len(self._kinds) == 1 and -1 not in declared else None

    def _number(self, definition: Property | None) -> int:
        if definition is None or not is_coarse(definition):
            return -1
        bare = msgspec.structs.replace(definition, description="", suppress={})
        if bare not in self._kinds:
            self._kinds.append(bare)
        return self._kinds.index(bare)

    def __bool__(self) -> bool:
        """Tell whether any event rounds it."""
        return bool(self._kinds)

    def coarse(self, values: Values, events: Events) -> Values:
        """Return what leaves in the place of `values`, each of them of one of `events`."""
        return self._each(coarse_values, values, values, events)

    def are_coarse(self, values: Values, events: Events) -> Booleans:
        """Tell which of `values`, each of them of one of `events`, are rounded; of those out of range, anything."""
        return self._each(are_coarse, values, np.ones(len(values), np.bool_), events)

    def _each(
        self, function: Callable[[Values, Property], Values], values: Values, otherwise: Values, events: Events
    ) -> Values:
        if self._only is not None:
            return function(values, self._only)
        kinds = self._kind_of[events]
        result = otherwise.copy()
        for number, kind in enumerate(self._kinds):
            rows = np.flatnonzero(kinds == number)
            if len(rows):
                result[rows] = function(values[rows], kind)
        return result


class ColumnCoarsener:
    """Rounds the columns of a batch on the instance, so that what leaves is no finer than `plan` asks for."""

    def __init__(self, plan: Plan) -> None:
        self._indices = {name: index for index, name in enumerate(plan.events)}
        properties = coarse_properties(plan)
        self._properties = {name: coarse for name, coarse in properties.items() if coarse}

    def coarsen(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with each value rounded that is in range; the others are for the check to refuse."""
        events: Events | None = None
        for position, name in enumerate(batch.schema.names):
            column = batch.column(position)
            if name not in self._properties or column.null_count == len(column):
                continue
            if events is None:
                events = event_indices(batch.column("name"), self._indices)
            rows = rows_with_value(column)
            values = column_values(column).copy()
            values[rows] = self._properties[name].coarse(values[rows], events[rows])
            batch = batch.set_column(position, batch.schema.field(position), with_values(column, values))
        return batch


def coarse_properties(plan: Plan) -> dict[str, CoarseProperty]:
    """Return each property of the plan by name, as all its events round it."""
    return {
        name: CoarseProperty([event.properties.get(name) for event in plan.events.values()])
        for name in plan.property_kinds()
    }


def is_coarse(kind: Property) -> bool:
    """Tell whether anything is rounded."""
    match kind:
        case IntegerProperty() | DurationProperty():
            return kind.precision > 1
        case NumberProperty():
            return kind.precision is not None
        case _:
            return isinstance(kind, CountProperty)
