"""`heliograph ask`: a verb for each question, each with the same filters and forms of output."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
import typer

from heliograph.cli.common import fail, out, read_plan, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis

    from heliograph.insights.answer import Answer
    from heliograph.insights.scope import Scope
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

app = typer.Typer(
    no_args_is_help=True,
    help="The five questions, who is active, and what pings say: asked of the lake, answered with their evidence.",
    epilog="Example: heliograph ask power-users --account acme --json",
)

Accounts: TypeAlias = Annotated[
    list[str] | None, typer.Option("--account", metavar="NAME", help="Only this account; may be repeated.")
]
Instances: TypeAlias = Annotated[
    list[str] | None, typer.Option("--instance", metavar="NAME", help="Only this instance; may be repeated.")
]
Until: TypeAlias = Annotated[
    datetime | None,
    typer.Option(
        "--until",
        formats=["%Y-%m-%d"],
        metavar="DATE",
        help="The last day that counts (UTC), such as 2026-10-31. Default: the day of the latest event.",
    ),
]
UntilPing: TypeAlias = Annotated[
    datetime | None,
    typer.Option(
        "--until",
        formats=["%Y-%m-%d"],
        metavar="DATE",
        help="The last day that counts (UTC), such as 2026-10-31. Default: the day of the latest ping.",
    ),
]
By: TypeAlias = Annotated[
    Literal["account", "instance"], typer.Option("--by", help="Whose users are counted together.")
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON: the definition, the parameters, the notes and the rows.")
]
AsCsv: TypeAlias = Annotated[bool, typer.Option("--csv", help="Print the rows as CSV, and the notes as errors.")]


@app.command()
def searches(
    context: typer.Context,
    *,
    user: Annotated[
        str, typer.Option("--user", metavar="ID", help="The user's random id: 32 hexadecimal digits in lower case.")
    ],
    month: Annotated[str, typer.Option("--month", metavar="MONTH", help="The calendar month (UTC), such as 2026-10.")],
    account: Accounts = None,
    instance: Instances = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """How many regex searches and literal searches did user X run this month?

    Counts the searches that the user submitted in the month, whatever their outcome, by the kind that the tracking
    plan names under `searches`.

    Example: heliograph ask searches --user 9f86d081884c7d659a2feaa0c55ad015 --month 2026-10
    """

    def answer(tables: Tables, plan: Plan, scope: Scope) -> Answer:
        from heliograph.insights.searches import answer_searches  # noqa: PLC0415 - quick --help

        return answer_searches(tables, plan, scope, user=user, month=month)

    _ask(context, answer, account=account, instance=instance, as_json=as_json, as_csv=as_csv)


@app.command()
def power_users(
    context: typer.Context,
    *,
    active_days: Annotated[
        int | None, typer.Option(help="Active days in 28 that a power user has, at least. Default: 10.")
    ] = None,
    features: Annotated[
        int | None, typer.Option(help="Distinct features that a power user uses, at least. Default: 3.")
    ] = None,
    percentile: Annotated[
        int | None,
        typer.Option(
            help="Percentage of the other active users than whom a power user has more core actions, at least. "
            "Default: 75."
        ),
    ] = None,
    by: By = "account",
    account: Accounts = None,
    instance: Instances = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """How many users are power users?

    A power user was active on many of the last 28 days, used several features, and did more core actions than most
    of the account's other active users. The answer shows how the number changes when a threshold moves one step.

    Example: heliograph ask power-users --account acme --active-days 12
    """
    thresholds = {"active_days": active_days, "features": features, "percentile": percentile}

    def answer(tables: Tables, plan: Plan, scope: Scope) -> Answer:
        from heliograph.insights.power_users import PowerUserRule, answer_power_users  # noqa: PLC0415 - quick --help

        rule = PowerUserRule(**{name: value for name, value in thresholds.items() if value is not None})
        return answer_power_users(tables, plan, scope, rule=rule)

    _ask(context, answer, by=by, account=account, instance=instance, until=until, as_json=as_json, as_csv=as_csv)


@app.command()
def multi_feature_sessions(
    context: typer.Context,
    *,
    gap_minutes: Annotated[
        int | None, typer.Option(help="The longest pause within a session, in minutes. Default: 30.")
    ] = None,
    by: By = "account",
    account: Accounts = None,
    instance: Instances = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """How many users use several features in one session?

    A session is a run of one user's events on one instance without a long pause; with two or more distinct features
    it is multi-feature. Counted over the last 28 days, by users and by sessions.

    Example: heliograph ask multi-feature-sessions --by instance --until 2026-10-31
    """

    def answer(tables: Tables, plan: Plan, scope: Scope) -> Answer:
        from heliograph.insights.sessions import (  # noqa: PLC0415 - quick --help
            SessionRule,
            answer_multi_feature_sessions,
        )

        rule = SessionRule() if gap_minutes is None else SessionRule(gap_minutes=gap_minutes)
        return answer_multi_feature_sessions(tables, plan, scope, rule=rule)

    _ask(context, answer, by=by, account=account, instance=instance, until=until, as_json=as_json, as_csv=as_csv)


@app.command()
def intervene(
    context: typer.Context,
    *,
    by: By = "account",
    account: Accounts = None,
    instance: Instances = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Is there a moment when we should step in with enablement or a message?

    Compares the latest two weeks of each account with its own eight weeks before: active users, core actions,
    features for each user, and the share of failures. Step in when one of them is clearly worse in both weeks. An
    account with too little data is too thin, and has no score.

    Example: heliograph ask intervene --account acme
    """

    def answer(tables: Tables, plan: Plan, scope: Scope) -> Answer:
        from heliograph.insights.intervene import answer_intervene  # noqa: PLC0415 - quick --help

        return answer_intervene(tables, plan, scope)

    _ask(context, answer, by=by, account=account, instance=instance, until=until, as_json=as_json, as_csv=as_csv)


@app.command()
def stickiest(
    context: typer.Context,
    *,
    top: Annotated[int, typer.Option(help="How many features, pairs and triples to show.")] = 5,
    account: Accounts = None,
    instance: Instances = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Which feature, or set of features, is stickiest?

    A feature's stickiness is the mean, over those who used it in the last 28 days, of the share of these days on
    which they did. Features, pairs and triples are ranked by the lower end of a 95 % interval.

    Example: heliograph ask stickiest --top 10
    """

    def answer(tables: Tables, plan: Plan, scope: Scope) -> Answer:
        from heliograph.insights.stickiest import answer_stickiest  # noqa: PLC0415 - quick --help

        return answer_stickiest(tables, plan, scope, top=top)

    _ask(context, answer, account=account, instance=instance, until=until, as_json=as_json, as_csv=as_csv)


@app.command()
def active(
    context: typer.Context,
    *,
    days: Annotated[int, typer.Option(help="How many days to show, up to the last.")] = 7,
    by: By = "account",
    account: Accounts = None,
    instance: Instances = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """How many users are active, and how often do they come back?

    A user is active on a day with a qualifying event. Daily, weekly (7 days) and monthly (28 days) active users for
    each day, and stickiness: the mean of the daily over 28 days, divided by the monthly.

    Example: heliograph ask active --by instance --days 28 --csv
    """

    def answer(tables: Tables, plan: Plan, scope: Scope) -> Answer:
        from heliograph.insights.activity import answer_activity  # noqa: PLC0415 - quick --help

        return answer_activity(tables, plan, scope, days=days)

    _ask(context, answer, by=by, account=account, instance=instance, until=until, as_json=as_json, as_csv=as_csv)


@app.command()
def critical(
    context: typer.Context,
    *,
    top: Annotated[int, typer.Option(help="How many features to show.")] = 3,
    account: Accounts = None,
    instance: Instances = None,
    until: UntilPing = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """What does the latest ping of each instance say?

    Pings are the critical telemetry: of accounts whose level is critical, they are all that there is. Shows active
    users, the features with most users, and what the product says of itself, such as its version.

    Example: heliograph ask critical --account acme
    """

    def answer(events: ibis.Table, pings: ibis.Table, plan: Plan, scope: Scope) -> Answer:  # noqa: ARG001 - as others
        from heliograph.insights.critical import answer_critical  # noqa: PLC0415 - quick --help

        return answer_critical(pings, scope, top=top)

    _ask_pings(context, answer, account=account, instance=instance, until=until, as_json=as_json, as_csv=as_csv)


@app.command()
def pings(
    context: typer.Context,
    *,
    last: Annotated[
        int, typer.Option("--last", metavar="DAYS", help="How many days to compare, up to that of the latest ping.")
    ] = 28,
    account: Accounts = None,
    instance: Instances = None,
    until: UntilPing = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Do the pings say what the events say?

    Compares, for each instance and day of which both came, active users and the use of each feature. What differs is
    shown with its kind: as it must be, because of late or narrowed events, or a real difference.

    Example: heliograph ask pings --account acme --last 7
    """

    def answer(events: ibis.Table, pings: ibis.Table, plan: Plan, scope: Scope) -> Answer:
        from heliograph.insights.reconcile import answer_reconcile  # noqa: PLC0415 - quick --help

        return answer_reconcile(events, pings, plan, scope, days=last)

    _ask_pings(context, answer, account=account, instance=instance, until=until, as_json=as_json, as_csv=as_csv)


def _ask_pings(
    context: typer.Context,
    answer: Callable[[ibis.Table, ibis.Table, Plan, Scope], Answer],
    *,
    account: list[str] | None,
    instance: list[str] | None,
    until: datetime | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Open the lake's events and pings, settle what is asked of the pings, answer, and print."""
    from heliograph.engines import EngineError  # noqa: PLC0415 - quick --help
    from heliograph.insights.opening import open_lake  # noqa: PLC0415 - quick --help
    from heliograph.insights.resolve import resolve_scope  # noqa: PLC0415 - quick --help
    from heliograph.insights.scope import QuestionError  # noqa: PLC0415 - quick --help

    if as_json and as_csv:
        fail(["Choose --json or --csv, not both."])
    settings = read_settings(context)
    plan = read_plan(settings)
    try:
        with open_lake(settings, plan) as lake:
            scope = resolve_scope(
                lake.pings,
                now=datetime.now(UTC),
                until=until.date() if until else None,
                unit="instance",
                accounts=account or (),
                instances=instance or (),
                noun="ping",
            )
            answered = answer(lake.tables.events, lake.pings, plan, scope)
    except (EngineError, QuestionError) as error:
        fail(error.problems)
    _show(answered, as_json=as_json, as_csv=as_csv)


def _ask(
    context: typer.Context,
    answer: Callable[[Tables, Plan, Scope], Answer],
    *,
    by: Literal["account", "instance"] = "account",
    account: list[str] | None,
    instance: list[str] | None,
    until: datetime | None = None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Open the lake, settle what is asked about, answer, and print."""
    from heliograph.engines import EngineError  # noqa: PLC0415 - quick --help
    from heliograph.insights.opening import open_lake  # noqa: PLC0415 - quick --help
    from heliograph.insights.resolve import resolve_scope  # noqa: PLC0415 - quick --help
    from heliograph.insights.scope import QuestionError  # noqa: PLC0415 - quick --help

    if as_json and as_csv:
        fail(["Choose --json or --csv, not both."])
    settings = read_settings(context)
    plan = read_plan(settings)
    try:
        with open_lake(settings, plan) as lake:
            scope = resolve_scope(
                lake.tables.instance_days,
                now=datetime.now(UTC),
                until=until.date() if until else None,
                unit=by,
                accounts=account or (),
                instances=instance or (),
            )
            answered = answer(lake.tables, plan, scope)
    except (EngineError, QuestionError) as error:
        fail(error.problems)
    if until is None and "until" in answered.parameters and answered.table.num_rows:
        note = f"Up to {scope.until}, the day of the latest event; choose another with --until."
        answered = msgspec.structs.replace(answered, notes=(*answered.notes, note))
    _show(answered, as_json=as_json, as_csv=as_csv)


def _show(answer: Answer, *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        sys.stdout.write(answer.as_json() + "\n")
    elif as_csv:
        sys.stdout.write(answer.as_csv())
        sys.stderr.writelines(f"{note}\n" for note in answer.notes)
    else:
        out.print(answer.as_rich())
