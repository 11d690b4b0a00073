"""`heliograph ask`: a verb for each question, each with the same filters and forms of output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from heliograph.cli import charts
from heliograph.cli.asking import FORM, SUPPRESS, UNTIL_PING, WHAT, WHEN, WHO, Asked, numbers, verb

if TYPE_CHECKING:
    from heliograph.insights.answer import Answer
    from heliograph.insights.opening import OpenLake
    from heliograph.insights.scope import Scope
    from heliograph.plan.model import Plan

app = typer.Typer(
    no_args_is_help=True,
    help="The five questions, every metric, and what pings say: asked of the lake, answered with their evidence.",
    epilog="Example: heliograph ask power-users --account acme --json",
)

_Days: TypeAlias = Annotated[
    int | None, typer.Option(help="Days that count, up to the last, where there is no --since.")
]


@verb(app, {**WHO, **WHAT, "zone": WHEN["zone"], **FORM})
def searches(
    asked: Asked,
    *,
    user: Annotated[
        str, typer.Option("--user", metavar="ID", help="The user's random id: 32 hexadecimal digits in lower case.")
    ],
    month: Annotated[str, typer.Option("--month", metavar="MONTH", help="The calendar month, such as 2026-10.")],
) -> None:
    """How many regex searches and literal searches did user X run this month?

    Counts the searches that the user submitted in the month, whatever their outcome, by the kind that the tracking
    plan names under `searches`.

    Example: heliograph ask searches --user 9f86d081884c7d659a2feaa0c55ad015 --month 2026-10
    """
    asked.question("searches", user=user, month=month)


@verb(app)
def power_users(
    asked: Asked,
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
) -> None:
    """How many users are power users?

    A power user was active on many of the last 28 days, used several features, and did more core actions than most
    of the account's other active users. The answer shows how the number changes when a threshold moves one step.

    Example: heliograph ask power-users --account acme --active-days 12
    """
    asked.question("power-users", active_days=active_days, features=features, percentile=percentile)


@verb(app)
def multi_feature_sessions(
    asked: Asked,
    *,
    gap_minutes: Annotated[
        int | None, typer.Option(help="The longest pause within a session, in minutes. Default: 30.")
    ] = None,
) -> None:
    """How many users use several features in one session?

    A session is a run of one user's events on one instance without a long pause; with two or more distinct features
    it is multi-feature. Counted over the last 28 days, by users and by sessions.

    Example: heliograph ask multi-feature-sessions --by instance --until 2026-10-31
    """
    asked.question("multi-feature-sessions", gap_minutes=gap_minutes)


@verb(app)
def intervene(
    asked: Asked,
    *,
    threshold: Annotated[
        float | None, typer.Option(help="Score of a change, at least, in standard deviations. Default: 3.0.")
    ] = None,
    minimum_change: Annotated[
        float | None,
        typer.Option(help="Change for the worse, at least, as a share of the level before. Default: 0.35."),
    ] = None,
    backtest: Annotated[
        Literal["lake", "simulated"] | None,
        typer.Option(help="Tell how often the advice would have been right: in this lake, or of simulated accounts."),
    ] = None,
) -> None:
    """Is there a moment when we should step in with enablement or a message?

    Finds where the latest ten weeks of each account changed most: active users, core actions, features for each user,
    and the share of failures. Step in when one of them is clearly worse since then. An account with too little data is
    too thin, and has no score. How often such advice was right is told beside it.

    Example: heliograph ask intervene --account acme
    """
    if backtest == "simulated":
        asked.simulated_back_test(threshold=threshold, minimum_change=minimum_change)
    else:
        question = "back-test" if backtest == "lake" else "intervene"
        asked.question(question, threshold=threshold, minimum_change=minimum_change)


@verb(app, {**WHO, **WHAT, **WHEN, **SUPPRESS, **FORM})
def stickiest(
    asked: Asked,
    *,
    top: Annotated[int, typer.Option(help="How many features, pairs and triples to show.")] = 5,
) -> None:
    """Which feature, or set of features, is stickiest?

    A feature's stickiness is the mean, over those who used it in the last 28 days, of the share of these days on
    which they did. Features, pairs and triples are ranked by the lower end of a 95 % interval.

    Example: heliograph ask stickiest --top 10
    """
    asked.question("stickiest", top=top)


@verb(app)
def active(
    asked: Asked,
    *,
    days: Annotated[int, typer.Option(help="How many days to show, up to the last.")] = 7,
) -> None:
    """How many users are active, and how often do they come back?

    A user is active on a day with a qualifying event. Daily, weekly (7 days) and monthly (28 days) active users for
    each day, and stickiness: the mean of the daily over 28 days, divided by the monthly.

    Example: heliograph ask active --by everyone --days 28 --feature search --csv
    """
    series = {"monthly_active_users": "m", "weekly_active_users": "w", "daily_active_users": "d"}
    asked.question("active", chart=charts.lines("day", series), days=days)


@verb(app)
def trailing_active_users(
    asked: Asked,
    *,
    days: Annotated[int | None, typer.Option(help="Days of the window that ends with each day. Default: 28.")] = None,
) -> None:
    """How many users were active in any number of days that end with each day?

    Distinct users, for every day since the data began, quiet days included. `heliograph ask active` has the usual
    windows of 1, 7 and 28 days beside one another.

    Example: heliograph ask trailing-active-users --days 90 --since 2026-10-01
    """
    asked.question("trailing-active-users", chart=charts.lines("day", {"active_users": "a"}), days=days)


@verb(app)
def calendar_months(asked: Asked) -> None:
    """How many users were active in each calendar month?

    Distinct users of the month, whatever its length. A month that is not over, or began before the data did, is not
    complete.

    Example: heliograph ask calendar-months --by everyone --since 2026-01-01 --zone Europe/Berlin
    """
    asked.question("calendar-month-active-users", chart=charts.bars("month", "active_users"))


@verb(app)
def power_user_curve(asked: Asked, *, days: _Days = None) -> None:
    """How many users were active on exactly so many of the days?

    The histogram of active days in 28, which is also called L28. Where many are active on nearly all days, it smiles.

    Example: heliograph ask power-user-curve --account acme --feature search
    """
    asked.question("power-user-curve", chart=charts.bars("active_days", "users", notes=["share"]), days=days)


@verb(app)
def retention(
    asked: Asked,
    *,
    kind: Annotated[
        Literal["n_day", "unbounded", "bracket"] | None,
        typer.Option(
            help="Active on exactly that day, on it or any later one, or from it to the day before the next. "
            "Default: n_day."
        ),
    ] = None,
    days: Annotated[
        str | None,
        typer.Option(metavar="DAYS", help="Days after a user's first, with commas between. Default: 1,7,14,28."),
    ] = None,
    cohort_days: Annotated[
        int | None, typer.Option(help="Days whose new users make a cohort: 1, 7 or 28. Default: 7.")
    ] = None,
) -> None:
    """How many of those who began to use the product come back?

    By cohorts of users whose first days lie close together: the share of each that was active so many days later. Only
    users count for whom that day is over; a tilde marks a cohort of which some are still to come.

    Example: heliograph ask retention --account acme --kind unbounded --days 1,7,28
    """
    chart = charts.heat_map("cohort", "from_day", "share", size="users", complete="complete")
    asked.question("retention", chart=chart, kind=kind, days=numbers("--days", days), cohort_days=cohort_days)


@verb(app)
def lifecycle(
    asked: Asked,
    *,
    period_days: Annotated[int | None, typer.Option(help="Days of a period: 1, 7 or 28. Default: 7.")] = None,
) -> None:
    """How many users are new, return, come back after a pause, or stay away?

    For each period: those who were active are new, returning from the period before, or resurrecting; dormant are
    those who were active in the period before and are not now.

    Example: heliograph ask lifecycle --by everyone --period-days 28
    """
    series = {"active": "a", "new": "n", "dormant": "d"}
    asked.question("lifecycle", chart=charts.lines("period", series), period_days=period_days)


@verb(app)
def components(asked: Asked) -> None:
    """What do the components of `intervene` measure, window by window?

    Active users, core actions, features for each user and the share of failures of the latest ten weeks: what
    `heliograph ask intervene` decides by. A week in which nothing arrived is not there.

    Example: heliograph ask components --account acme --csv
    """
    asked.question("components")


@verb(app)
def funnel(
    asked: Asked,
    *,
    steps: Annotated[list[str], typer.Option("--step", metavar="EVENT", help="An event; two or more, in their order.")],
    order: Annotated[
        Literal["ordered", "exact", "any"] | None,
        typer.Option(help="In this order, in this order with nothing between, or in any. Default: ordered."),
    ] = None,
    window_hours: Annotated[
        int | None, typer.Option(help="Hours from the first step within which all others count. Default: 168.")
    ] = None,
    days: _Days = None,
) -> None:
    """How many users go through these steps, and where do they stop?

    Steps follow each other in time, within the window from the first one. Pending are users who can still come further.

    Example: heliograph ask funnel --step SearchSubmitted --step SearchResultClicked --step goToDefinition
    """
    chart = charts.bars("name", "users", notes=["share", "share_of_previous"])
    asked.question("funnel", chart=chart, steps=tuple(steps), order=order, window_hours=window_hours, days=days)


@verb(app)
def adoption(asked: Asked, *, days: _Days = None) -> None:
    """How broadly, how often and how deeply is the product used?

    Features of each user, active days of each, and core actions a day; and the share of those with access who use it at
    all, where the pings say how many there are.

    Example: heliograph ask adoption --account acme --month 2026-10
    """
    asked.question("adoption", days=days)


@verb(app)
def feature_adoption(asked: Asked, *, days: _Days = None) -> None:
    """How many users does each feature have, and how do they use it?

    For each feature of the plan, those that nobody uses included: its users, as a share of all active users, the days
    on which they use it, and how much on each.

    Example: heliograph ask feature-adoption --by everyone --client web
    """
    chart = charts.bars("feature", "users", notes=["breadth", "frequency", "depth"])
    asked.question("feature-adoption", chart=chart, days=days)


@verb(app, {**WHO, **UNTIL_PING, **FORM})
def critical(
    asked: Asked,
    *,
    top: Annotated[int, typer.Option(help="How many features to show.")] = 3,
) -> None:
    """What does the latest ping of each instance say?

    Pings are the critical telemetry: of accounts whose level is critical, they are all that there is. Shows active
    users, the features with most users, and what the product says of itself, such as its version.

    Example: heliograph ask critical --account acme
    """

    def answer(lake: OpenLake, plan: Plan, scope: Scope) -> Answer:  # noqa: ARG001 - as the others
        from heliograph.insights.critical import answer_critical  # noqa: PLC0415 - quick --help

        return answer_critical(lake.pings, scope, top=top)

    asked.pings(answer)


@verb(app, {**WHO, **UNTIL_PING, **FORM})
def pings(
    asked: Asked,
    *,
    last: Annotated[
        int, typer.Option("--last", metavar="DAYS", help="How many days to compare, up to that of the latest ping.")
    ] = 28,
) -> None:
    """Do the pings say what the events say?

    Compares, for each instance and day of which both came, active users and the use of each feature. What differs is
    shown with its kind: as it must be, because of late or narrowed events, or a real difference.

    Example: heliograph ask pings --account acme --last 7
    """

    def answer(lake: OpenLake, plan: Plan, scope: Scope) -> Answer:
        from heliograph.insights.reconcile import answer_reconcile  # noqa: PLC0415 - quick --help

        return answer_reconcile(lake.tables.events, lake.pings, plan, scope, days=last)

    asked.pings(answer)
