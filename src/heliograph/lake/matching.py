"""Which rows an erasure covers: one list of comparisons for each table, as SQL and as an Iceberg expression."""

from __future__ import annotations

import functools
import operator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import ibis
from pyiceberg.expressions import (
    AlwaysFalse,
    AlwaysTrue,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThanOrEqual,
    In,
    LessThanOrEqual,
    Or,
)

from heliograph.event import microseconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from heliograph.registry.erasures import Pending

_WHOSE: Final = frozenset({"account", "instance"})
"""A table with one of these has rows that belong to somebody."""


class Comparison(NamedTuple):
    """One condition on a column; all those of a list must hold."""

    column: str
    operator: str
    value: Any


class Scope(NamedTuple):
    """An order, and the first day on which something happened that it covers, where that is known."""

    pending: Pending
    first_day: date | None = None

    @property
    def id(self) -> str:
        """The order's id."""
        return self.pending.order.id

    @property
    def account(self) -> str:
        """Whose order it is."""
        return self.pending.order.account

    def comparisons(self, columns: Collection[str]) -> list[Comparison] | None:
        """Return which rows of a table with these columns it covers; None: it has nothing to do with the table.

        A table that says when a row arrived loses just the rows that arrived in the order's time. One that has days
        instead was made from events, and loses every day from the first on which an erased event happened. One that
        has neither loses all rows of the account or instance. Where single users cannot be told, one user's order
        leaves the table alone.
        """
        if not _WHOSE.intersection(columns):
            return None
        order = self.pending.order
        found = []
        if "account" in columns:
            found.append(Comparison("account", "=", order.account))
        if "instance" in columns and (order.instance is not None or "account" not in columns):
            if not self.pending.instances:
                return None
            found.append(Comparison("instance", "in", self.pending.instances))
        if order.user_digest is not None:
            return [*found, Comparison("user_id", "=", self.pending.user_id)] if "user_id" in columns else None
        if "received" in columns:
            if order.since is not None:
                found.append(Comparison("received", ">=", _plain(order.since)))
            found.append(Comparison("received", "<=", _plain(order.until)))
        elif "day" in columns and (first_day := self._first_day()) is not None:
            found.append(Comparison("day", ">=", first_day))
        return found

    def _first_day(self) -> date | None:
        since = self.pending.order.since
        days = [day for day in (self.first_day, None if since is None else since.astimezone(UTC).date()) if day]
        return None if since is None else min(days)

    def covers_arrival(self, account: str, instance: str, received: int) -> bool:
        """Tell whether it covers what arrived from an instance at a moment, in microseconds since 1970.

        Of an order for one user, whether it may.
        """
        order = self.pending.order
        if account != order.account or order.instance not in {None, instance}:
            return False
        if order.user_digest is not None:
            return True
        after = order.since is None or received >= microseconds(order.since)
        return after and received <= microseconds(order.until)


def sql_case(
    scopes: Iterable[Scope], columns: Collection[str], *, day: str = '"day"'
) -> tuple[str, dict[str, Any]] | None:
    """Return SQL for the id of the first order that covers a row, null for none, and its parameters.

    None when no order has anything to do with such a table.

    Args:
        scopes: The orders.
        columns: Of the table.
        day: SQL for the column `day`, where it is to be worked out.
    """
    branches: list[str] = []
    parameters: dict[str, Any] = {}

    def name(value: Any) -> str:
        parameters[f"p{len(parameters)}"] = value
        return f"$p{len(parameters) - 1}"

    for scope in scopes:
        found = scope.comparisons(columns)
        if found is not None:
            terms = []
            for column, sign, value in found:
                left = day if column == "day" else f'"{column}"'
                right = f"({', '.join(map(name, value))})" if sign == "in" else name(value)
                terms.append(f"{left} {sign} {right}")
            branches.append(f"when {' and '.join(terms)} then {name(scope.id)}")
    return (f"case {' '.join(branches)} end", parameters) if branches else None


def ibis_case(
    scopes: Iterable[Scope], columns: Collection[str], rows: ibis.Table, *, day: ibis.Value | None = None
) -> ibis.Value | None:
    """Return the same as an expression over rows, for any engine.

    Args:
        scopes: The orders.
        columns: Of the table.
        rows: The rows, which have these columns but for what `day` stands for.
        day: The column `day`, where it is to be worked out.
    """
    branches: list[tuple[Any, str]] = []
    for scope in scopes:
        found = scope.comparisons(columns)
        if found is not None:
            terms = [
                _holds(day if each.column == "day" and day is not None else rows[each.column], each) for each in found
            ]
            branches.append((functools.reduce(operator.and_, terms), scope.id))
    return ibis.cases(*branches) if branches else None


def _holds(left: ibis.Value, comparison: Comparison) -> Any:
    value = comparison.value
    if comparison.operator == "in":
        return left.isin(list(value))
    if isinstance(value, datetime):
        value = ibis.literal(value, "timestamp(6)")
    return {"=": operator.eq, ">=": operator.ge, "<=": operator.le}[comparison.operator](left, value)


def iceberg_filter(scopes: Iterable[Scope], columns: Collection[str]) -> BooleanExpression:
    """Return the same as an expression of Iceberg."""
    operators: dict[str, Any] = {"=": EqualTo, "in": In, ">=": GreaterThanOrEqual, "<=": LessThanOrEqual}
    covered: BooleanExpression = AlwaysFalse()
    for scope in scopes:
        found = scope.comparisons(columns)
        if found is not None:
            one: BooleanExpression = AlwaysTrue()
            for column, sign, value in found:
                one = And(one, operators[sign](column, value))
            covered = Or(covered, one)
    return covered


def _plain(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
