"""A lake to explore from Python, in a program or a notebook: every answer is an Arrow table.

from heliograph.explore import open_lake

with open_lake("vendor.toml") as lake:
    lake.ask("power-users", account="acme")  # an answer, which a notebook shows
    lake.metric("retention", kind="unbounded", days=(1, 7, 28))  # a pyarrow.Table
    lake.sql("SELECT day, sum(events) AS events FROM instance_days GROUP BY day")
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Self

import msgspec

from heliograph.insights import opening
from heliograph.insights.asking import Filters, ask, find_scope, metric_of
from heliograph.insights.scope import QuestionError
from heliograph.insights.sql import SqlBounds, run_sql
from heliograph.insights.sql_tables import sql_tables
from heliograph.plan.load import load_plan
from heliograph.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import pyarrow as pa

    from heliograph.insights.answer import Answer
    from heliograph.insights.scope import Scope, Unit
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan


def open_lake(
    settings: Settings | Path | str | None = None, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Lake:
    """Open the lake as of now, for reading. Whoever wants what has arrived since opens it anew.

    Args:
        settings: The settings, or their file; None: ``heliograph.toml`` in this folder, or what the environment says.
        now: The clock: the day in progress is never complete.

    Raises:
        SettingsError: The settings are not right.
        PlanError: The plan is not.
        EngineError: The engine cannot be had.
    """
    if not isinstance(settings, Settings):
        settings = load_settings(None if settings is None else str(settings))
    return Lake(settings, load_plan(settings.plan.file), now)


class Lake:
    """An open lake; made by `open_lake`. Close it, or use it in a ``with`` block.

    Args:
        settings: Where it is.
        plan: Says what its events mean.
        now: The clock.
    """

    def __init__(self, settings: Settings, plan: Plan, now: Callable[[], datetime]) -> None:
        self._settings, self._now = settings, now
        self.plan = plan
        self._open = ExitStack()
        self.tables: Tables = self._open.enter_context(opening.open_lake(settings, plan)).tables
        """What metrics read, as tables of Ibis, for questions that nobody has asked before."""

    def ask(
        self,
        question: str,
        *,
        account: str | Iterable[str] = (),
        instance: str | Iterable[str] = (),
        feature: str | Iterable[str] = (),
        version: str | Iterable[str] = (),
        client: str | Iterable[str] = (),
        since: date | str | None = None,
        until: date | str | None = None,
        month: str | None = None,
        zone: str = "UTC",
        by: Unit = "account",
        **parameters: Any,
    ) -> Answer:
        """Answer a question of ``heliograph ask``; `heliograph.insights.asking.NAMES` has all of them.

        Args:
            question: Such as ``power-users``.
            account: Only this one, or these; likewise `instance`, `feature`, `version` and `client`.
            instance: See `account`.
            feature: Keys of the plan.
            version: Of the product, such as ``5.3`` or ``>=5.2``.
            client: Sources of the plan.
            since: The first day that is answered for.
            until: The last day that counts; None: that of the latest event.
            month: A calendar month, such as ``2026-10``, in the place of both.
            zone: The time zone of days.
            by: Whose users are counted together.
            parameters: What is particular to the question, such as ``active_days=12``.

        Raises:
            QuestionError: Something that was chosen is unknown, or out of bounds; it says what, and what there is.
        """
        if question == "searches" and month is not None:
            parameters, month = {**parameters, "month": month}, None
        filters = Filters(
            accounts=_words(account),
            instances=_words(instance),
            features=_words(feature),
            versions=_words(version),
            clients=_words(client),
            since=_day(since),
            until=_day(until),
            month=month,
            zone=zone,
            by=by,
        )
        return ask(question, self.tables, self.plan, self.scope(filters), **parameters)

    def scope(self, filters: Filters | None = None) -> Scope:
        """Return the scope of some filters, for the functions of `heliograph.insights`.

        Raises:
            QuestionError: A name is unknown.
        """
        return find_scope(filters or Filters(), self.tables, self.plan, now=self._now())

    def metric(self, name: str, **choices: Any) -> pa.Table:
        """Return the rows of a metric of `heliograph.insights.catalog`.

        Args:
            name: Such as ``retention``.
            choices: As `ask` takes them.

        Raises:
            QuestionError: As `ask` does.
        """
        metric_of(name)
        return self.ask(name, **choices).table

    def sql(self, statement: str, **bounds: Any) -> pa.Table:
        """Return the rows of one query on the marts and the pings.

        Args:
            statement: In DuckDB's SQL; see `heliograph.insights.sql`.
            bounds: Fields of `heliograph.insights.sql.SqlBounds`, such as ``seconds=10``.

        Raises:
            QuestionError: It may not run, cannot, or takes too much; or it has more rows than `bounds` allow.
        """
        try:
            limits = msgspec.convert(bounds, SqlBounds)
        except msgspec.ValidationError as error:
            raise QuestionError([f"A bound is not right: {error}."]) from None
        result = run_sql(statement, sql_tables(self._settings.lake, self.plan), limits)
        if result.cut:
            raise QuestionError([f"There are more than {limits.rows:,} rows; aggregate them, or raise rows."])
        return result.table

    def close(self) -> None:
        """Let go of the engine; nothing can be asked any more."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()


def _words(names: str | Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _day(day: date | str | None) -> date | None:
    if not isinstance(day, str):
        return day
    try:
        return date.fromisoformat(day)
    except ValueError:
        raise QuestionError([f"{day!r} is no day; write one such as 2026-10-31."]) from None
