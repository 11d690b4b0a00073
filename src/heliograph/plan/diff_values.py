"""The values of one property or fact, compared: whether any can leave that could not before.

In doubt a change counts as newly collected: a reviewer looks once too often rather than once too seldom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from heliograph.plan.diff_kinds import Change, Kind
from heliograph.plan.in_words import values_in_words
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    CountsFact,
    DurationProperty,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.plan.model import Fact, Property
    from heliograph.plan.shape import Path

Whole: TypeAlias = IntegerProperty | DurationProperty

COLUMNS: Final[dict[type, str]] = {
    IntegerProperty: "whole numbers",
    DurationProperty: "whole numbers",
    CountProperty: "whole numbers",
    NumberProperty: "numbers",
    BooleanProperty: "true or false",
    MemberProperty: "words",
}
"""What the stored column of a property holds: `heliograph.lake.tables` only ever adds columns."""


def value_changes(path: Path, old: Property | Fact, new: Property | Fact) -> Iterator[Change]:
    """Yield how the values of a property or a fact differ; a description is not a value."""
    match old, new:
        case IntegerProperty() | DurationProperty(), IntegerProperty() | DurationProperty():
            yield from _type_change(path, old, new)
            yield from _bound_changes(path, old, new)
            yield from _whole_precision_changes(path, old, new)
        case CountProperty(), CountProperty():
            yield from _bucket_changes(path, old, new)
        case ((IntegerProperty() | DurationProperty()), CountProperty()):
            yield from _type_change(path, old, new)
            finer = not all(_holds(old, bound) for bound in new.buckets)
            yield _change(Kind.BUCKETS_FINER if finer else Kind.BUCKETS_COARSER, path, old, new)
        case CountProperty(), (IntegerProperty() | DurationProperty()):
            yield from _type_change(path, old, new)
            yield _change(Kind.PRECISION_FINER, path, old, new)
        case NumberProperty(), NumberProperty():
            yield from _bound_changes(path, old, new)
            yield from _precision_changes(path, old, new)
        case MemberProperty(), MemberProperty():
            yield from _member_changes(path, old.members, new.members)
        case CountsFact(), CountsFact():
            yield from _member_changes(path, old.members, new.members)
            yield from _bound_changes(path, old, new)
        case _ if type(old) is not type(new):
            yield _change(Kind.VALUES_OTHER, path, old, new)


def _change(kind: Kind, path: Path, old: Property | Fact, new: Property | Fact) -> Change:
    return Change(kind=kind, path=path, old=values_in_words(old), new=values_in_words(new))


def _type_change(path: Path, old: Whole | CountProperty, new: Whole | CountProperty) -> Iterator[Change]:
    if type(old) is not type(new):
        yield Change(kind=Kind.TYPE_CHANGED, path=path, old=type_name(old), new=type_name(new))


def type_name(kind: Property | Fact) -> str:
    """Return the name of a type as a plan writes it: ``integer``."""
    return str(kind.__struct_config__.tag)


def _holds(kind: Whole, value: int) -> bool:
    return _minimum(kind) <= value <= kind.maximum and value % kind.precision == 0


def _minimum(kind: Whole | NumberProperty | CountsFact) -> float:
    return kind.minimum if isinstance(kind, IntegerProperty | NumberProperty) else 0


def _bound_changes(
    path: Path, old: Whole | NumberProperty | CountsFact, new: Whole | NumberProperty | CountsFact
) -> Iterator[Change]:
    if _minimum(new) < _minimum(old) or new.maximum > old.maximum:
        yield _change(Kind.RANGE_WIDENED, path, old, new)
    if _minimum(new) > _minimum(old) or new.maximum < old.maximum:
        yield _change(Kind.RANGE_NARROWED, path, old, new)


def _whole_precision_changes(path: Path, old: Whole, new: Whole) -> Iterator[Change]:
    if new.precision == old.precision:
        return
    coarser = new.precision % old.precision == 0  # else some multiple of the new one was none of the old
    yield _change(Kind.PRECISION_COARSER if coarser else Kind.PRECISION_FINER, path, old, new)


def _precision_changes(path: Path, old: NumberProperty, new: NumberProperty) -> Iterator[Change]:
    if new.precision == old.precision:
        return
    # Powers of ten: each multiple of a larger one is a multiple of a smaller one.
    coarser = old.precision is None or (new.precision is not None and new.precision > old.precision)
    yield _change(Kind.PRECISION_COARSER if coarser else Kind.PRECISION_FINER, path, old, new)


def _bucket_changes(path: Path, old: CountProperty, new: CountProperty) -> Iterator[Change]:
    if new.buckets == old.buckets:
        return
    coarser = {*new.buckets} <= {*old.buckets}
    yield _change(Kind.BUCKETS_COARSER if coarser else Kind.BUCKETS_FINER, path, old, new)


def _member_changes(path: Path, old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[Change]:
    for member in new:
        if member not in old:
            yield Change(kind=Kind.MEMBER_ADDED, path=path, new=member)
    for member in old:
        if member not in new:
            yield Change(kind=Kind.MEMBER_WITHDRAWN, path=path, old=member)
