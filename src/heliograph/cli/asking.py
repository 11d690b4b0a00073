"""What the verbs of ``heliograph ask`` share: their options, made once, the way to an answer, and its forms."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec
import typer

from heliograph.cli.common import fail, out, print_json, read_plan, read_settings

if TYPE_CHECKING:
    import pyarrow as pa

    from heliograph.cli.charts import Chart
    from heliograph.insights.answer import Answer
    from heliograph.insights.opening import OpenLake
    from heliograph.insights.scope import Scope
    from heliograph.plan.model import Plan


def _names(flag: str, metavar: str, words: str) -> Any:
    return Annotated[list[str] | None, typer.Option(flag, metavar=metavar, help=f"{words}; may be repeated.")]


def _day(flag: str, words: str) -> Any:
    return Annotated[datetime | None, typer.Option(flag, formats=["%Y-%m-%d"], metavar="DATE", help=words)]


def _flag(flag: str, words: str) -> Any:
    return Annotated[bool, typer.Option(flag, help=words)]


def _file(flag: str, words: str) -> Any:
    return Annotated[Path | None, typer.Option(flag, metavar="FILE", dir_okay=False, help=words)]


WHO: Final = {
    "account": _names("--account", "NAME", "Only this account"),
    "instance": _names("--instance", "NAME", "Only this instance"),
}
WHAT: Final = {
    "feature": _names("--feature", "KEY", "Only the use of this feature of the plan"),
    "version": _names("--version", "VERSION", "Only these versions of the product: 5.3 (with 5.3.x), =5.3, '>=5.2'"),
    "client": _names("--client", "NAME", "Only what this client tells of, such as web"),
}
WHEN: Final = {
    "since": _day(
        "--since", "The first day that is answered for, such as 2026-10-01. Default: what the question says."
    ),
    "until": _day("--until", "The last day that counts, such as 2026-10-31. Default: the day of the latest event."),
    "month": Annotated[
        str | None,
        typer.Option("--month", metavar="MONTH", help="A calendar month, such as 2026-10, in the place of both."),
    ],
    "zone": Annotated[
        str, typer.Option("--zone", metavar="ZONE", help="The time zone of days, such as Europe/Berlin.")
    ],
}
BY: Final = {
    "by": Annotated[
        Literal["account", "instance", "everyone"], typer.Option("--by", help="Whose users are counted together.")
    ]
}
UNTIL_PING: Final = {
    "until": _day("--until", "The last day that counts (UTC), such as 2026-10-31. Default: the day of the latest ping.")
}
FORM: Final = {
    "as_json": _flag("--json", "Print JSON: the definition, the parameters, the notes and the rows."),
    "as_csv": _flag("--csv", "Print the rows as CSV, and the notes as errors."),
    "arrow": _file("--arrow", "Write the rows to an Arrow file."),
    "parquet": _file("--parquet", "Write the rows to a Parquet file."),
    "plain": _flag("--plain", "Print a table where a terminal would be shown a chart."),
}
_DEFAULTS: Final[dict[str, Any]] = {
    **dict.fromkeys(("as_json", "as_csv", "plain"), False),
    "zone": "UTC",
    "by": "account",
}
SUPPRESS: Final = {
    "suppress": Annotated[
        int | None,
        typer.Option(
            "--suppress", metavar="PEOPLE", min=2, help="Tell of no group of fewer people, nor what would give it away."
        ),
    ]
}
ALL: Final = {**WHO, **WHAT, **WHEN, **BY, **SUPPRESS, **FORM}
"""The options of most verbs."""
_Verb: TypeAlias = Callable[..., None]


def verb(
    app: typer.Typer, options: dict[str, Any] | None = None, *, name: str | None = None
) -> Callable[[_Verb], _Verb]:
    """Make a verb of a function that takes `Asked` and options of its own; `options` are added to these.

    Args:
        app: Where the verb belongs.
        options: Such as `ALL`, which is the default.
        name: The verb's name; None: the function's.
    """
    shared = ALL if options is None else options

    def add(function: _Verb) -> _Verb:
        own = [*inspect.signature(function, eval_str=True).parameters.values()][1:]
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        added = [
            inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=_DEFAULTS.get(each))
            for each, kind in shared.items()
        ]

        @functools.wraps(function)
        def run(context: typer.Context, **values: Any) -> None:
            chosen = {each: values.pop(each) for each in shared}
            function(Asked(context, chosen), **values)

        # Typer reads a function's options from its signature.
        run.__signature__ = inspect.Signature([context, *own, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in (context, *own, *added)}
        app.command(name=name)(run)
        return run

    return add


class Asked:
    """What was chosen by the shared options, and how the answer is wanted.

    Args:
        context: Leads to the settings.
        chosen: The values of the options, by name.
    """

    def __init__(self, context: typer.Context, chosen: dict[str, Any]) -> None:
        self._context = context
        self._chosen = chosen

    def question(self, name: str, *, chart: Chart | None = None, **parameters: Any) -> None:
        """Answer a question of `heliograph.insights.asking`, and print it; parameters that are None keep defaults."""
        from heliograph.insights.asking import Filters, ask, find_scope  # noqa: PLC0415 - quick --help

        chosen = {key: value for key, value in parameters.items() if value is not None}
        filters = Filters(
            accounts=self._words("account"),
            instances=self._words("instance"),
            features=self._words("feature"),
            versions=self._words("version"),
            clients=self._words("client"),
            since=self._day("since"),
            until=self._day("until"),
            month=self._chosen.get("month"),
            zone=self._chosen.get("zone") or "UTC",
            by=self._chosen.get("by") or "account",
        )

        def answer(lake: OpenLake, plan: Plan) -> Answer:
            scope = find_scope(filters, lake.tables, plan, now=datetime.now(UTC))
            answered = ask(name, lake.tables, plan, scope, suppress=self._chosen.get("suppress"), **chosen)
            if filters.until is None and filters.month is None and "until" in answered.parameters:
                answered = _with_last_day(answered, scope.until)
            return answered

        self._answer(answer, chart)

    def pings(self, answer: Callable[[OpenLake, Plan, Scope], Answer]) -> None:
        """Answer a question about pings, and print it."""
        from heliograph.insights.resolve import resolve_scope  # noqa: PLC0415 - quick --help

        def answered(lake: OpenLake, plan: Plan) -> Answer:
            scope = resolve_scope(
                lake.pings,
                now=datetime.now(UTC),
                until=self._day("until"),
                unit="instance",
                accounts=self._words("account"),
                instances=self._words("instance"),
                noun="ping",
            )
            return answer(lake, plan, scope)

        self._answer(answered, None)

    def sql(self, statement: str, *, seconds: float, memory_mib: int, rows: int) -> None:
        """Run a query on the marts, and print its rows."""
        from heliograph.insights.answer import rich_table  # noqa: PLC0415 - quick --help
        from heliograph.insights.scope import QuestionError  # noqa: PLC0415 - quick --help
        from heliograph.insights.sql import SqlBounds, run_sql  # noqa: PLC0415 - quick --help
        from heliograph.insights.sql_tables import sql_tables  # noqa: PLC0415 - quick --help

        self._check_form()
        settings = read_settings(self._context)
        plan = read_plan(settings)
        try:
            bounds = SqlBounds(seconds=seconds, memory_mib=memory_mib, rows=rows)
            result = run_sql(statement, sql_tables(settings.lake, plan), bounds)
        except QuestionError as error:
            fail(error.problems)
        notes = (f"There are more than {rows:,} rows; --rows shows more of them.",) if result.cut else ()
        if not self._printed(result.table, notes):
            out.print(rich_table(result.table))
            _tell(notes)

    def simulated_back_test(self, **parameters: Any) -> None:
        """Back-test `intervene` on simulated accounts of the plan, and print the figures."""
        from heliograph.demo.known_incidents import simulated_back_test  # noqa: PLC0415 - quick --help
        from heliograph.insights.backtest import answer_back_test  # noqa: PLC0415 - quick --help
        from heliograph.insights.intervene import InterventionRule  # noqa: PLC0415 - quick --help
        from heliograph.insights.scope import QuestionError, checked  # noqa: PLC0415 - quick --help

        chosen = {key: value for key, value in parameters.items() if value is not None}
        try:
            rule = checked(InterventionRule(**chosen))
        except QuestionError as error:
            fail(error.problems)
        test = simulated_back_test(read_plan(read_settings(self._context)), rule)
        label = "an incident of the account began two to eight weeks before"
        self._show(answer_back_test(test, of="simulated accounts", label=label), None)

    def _answer(self, answer: Callable[[OpenLake, Plan], Answer], chart: Chart | None) -> None:
        from heliograph.engines import EngineError  # noqa: PLC0415 - quick --help
        from heliograph.insights.opening import open_lake  # noqa: PLC0415 - quick --help
        from heliograph.insights.scope import QuestionError  # noqa: PLC0415 - quick --help

        self._check_form()
        settings = read_settings(self._context)
        plan = read_plan(settings)
        try:
            with open_lake(settings, plan) as lake:
                answered = answer(lake, plan)
        except (EngineError, QuestionError) as error:
            fail(error.problems)
        self._show(answered, chart)

    def _check_form(self) -> None:
        forms = [name for name in ("as_json", "as_csv", "arrow", "parquet") if self._chosen.get(name)]
        if len(forms) > 1:
            named = " or ".join(f"--{name.removeprefix('as_')}" for name in forms)
            fail([f"Choose {named}, not {'both' if len(forms) == len(('one', 'other')) else 'all'}."])

    def _show(self, answer: Answer, chart: Chart | None) -> None:
        if self._chosen["as_json"]:
            sys.stdout.write(answer.as_json() + "\n")
        elif self._printed(answer.table, answer.notes):
            return
        elif chart is not None and out.is_terminal and not self._chosen["plain"] and answer.table.num_rows:
            out.print(answer.as_rich(chart=chart(answer.table, out.width)))
        else:
            out.print(answer.as_rich())

    def _printed(self, table: pa.Table, notes: tuple[str, ...]) -> bool:
        """Print or write rows in the form that was chosen, and the notes beside them; return whether one was."""
        from heliograph.insights.answer import as_csv  # noqa: PLC0415 - quick --help

        if self._chosen["as_json"]:
            print_json(table.to_pylist())
        elif self._chosen["as_csv"]:
            sys.stdout.write(as_csv(table))
        elif path := self._chosen["arrow"] or self._chosen["parquet"]:
            write_rows(table, path, is_parquet=self._chosen["parquet"] is not None)
            notes = (*notes, f"{table.num_rows:,} rows written to {path}.")
        else:
            return False
        _tell(notes)
        return True

    def _words(self, name: str) -> tuple[str, ...]:
        return tuple(self._chosen.get(name) or ())

    def _day(self, name: str) -> date | None:
        moment: datetime | None = self._chosen.get(name)
        return None if moment is None else moment.date()


def numbers(flag: str, text: str | None) -> tuple[int, ...] | None:
    """Return the whole numbers of an option such as ``1,7,28``; None where it was not given."""
    try:
        return None if text is None else tuple(int(each) for each in text.split(","))
    except ValueError:
        fail([f"{flag} takes whole numbers with commas between, such as 1,7,28; not {text!r}."])


def write_rows(table: pa.Table, path: Path, *, is_parquet: bool) -> None:
    """Write rows to a file, which is not there before it is whole; end with the reason if that fails."""
    import pyarrow as pa  # noqa: PLC0415 - quick --help
    from pyarrow import parquet  # noqa: PLC0415 - quick --help

    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as sink:
            if is_parquet:
                parquet.write_table(table, sink)
            else:
                with pa.ipc.new_file(sink, table.schema) as writer:
                    writer.write_table(table)
        part.replace(path)
    except OSError as error:
        fail([f"{path}: {error.strerror or error}"])


def _tell(notes: Iterable[str]) -> None:
    sys.stderr.writelines(f"{note}\n" for note in notes)


def _with_last_day(answer: Answer, until: date) -> Answer:
    if not answer.table.num_rows:
        return answer
    note = f"Up to {until}, the day of the latest event; choose another with --until."
    return msgspec.structs.replace(answer, notes=(*answer.notes, note))
