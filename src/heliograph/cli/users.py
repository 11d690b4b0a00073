"""`heliograph agent opt-out`, `opt-in`, `opt-outs` and `forget`: what one user wants; and `mark`: what one is."""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.common import fail, out, print_json, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.instance.erasures import Erasure
    from heliograph.instance.state import State
    from heliograph.settings import Settings

_STANDARD_INPUT = "-"
_User = Annotated[
    str, typer.Argument(metavar="USER", help="The product's own id of the user; - reads ids from standard input.")
]


def opt_out(context: typer.Context, user: _User) -> None:
    """Let nothing of a user be recorded or sent any more, whatever the level.

    Products drop the user's events within a second; the agent drops what is still queued before it sends again.

    Example: heliograph agent opt-out 42
    """
    _say(context, user, out_=True)


def opt_in(context: typer.Context, user: _User) -> None:
    """Let a user who has opted out be recorded again; what happened before is not sent.

    Example: heliograph agent opt-in 42
    """
    _say(context, user, out_=False)


def _say(context: typer.Context, user: str, *, out_: bool) -> None:
    from heliograph.instance.opt_outs import OptOutsFile, checked_user  # noqa: PLC0415 - quick --help

    outbox = Path(read_settings(context).recorder.outbox)
    file = OptOutsFile(outbox)
    users = _named(user, checked_user)
    try:
        for each in users:
            file.append(each, out=out_, now=datetime.now(UTC))
    except OSError as error:
        fail([f"{file.path}: cannot be written: {error.strerror}. It may not hold for all {len(users)}: say it again."])
    out.print(f"{len(users)} {'opted out' if out_ else 'opted in'}")


def opt_outs(
    context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List who has opted out, and since when.

    Ends with status 1 when the file is damaged: nothing is sent until it is mended.

    Example: heliograph agent opt-outs
    """
    from rich.table import Table  # noqa: PLC0415 - quick --help

    from heliograph.instance.opt_outs import OptOutsFile  # noqa: PLC0415

    file = OptOutsFile(Path(read_settings(context).recorder.outbox))
    try:
        found = file.read()
    except OSError as error:
        fail([f"{file.path}: cannot be read: {error.strerror}"])
    if as_json:
        print_json(found.out)
    else:
        table = Table("user", "since", title="Who has opted out")
        for user, since in found.out.items():
            table.add_row(user, since.isoformat(timespec="seconds"))
        out.print(table)
    if found.damaged:
        lines = ", ".join(map(str, found.damaged))
        fail(
            [f"{file.path}: damaged in line {lines}. Let those users opt out again, and delete these lines."], status=1
        )


def forget(
    context: typer.Context,
    user: Annotated[
        str | None,
        typer.Argument(metavar="USER", help="The product's own id of the user; - reads ids from standard input."),
    ] = None,
    *,
    all_of: Annotated[Path | None, typer.Option("--all-of", metavar="FILE", help="A file of ids, one a line.")] = None,
    status: Annotated[bool, typer.Option("--status", help="List what the vendor was asked to erase.")] = False,
) -> None:
    """Forget a user: the random ids, what is queued, and, by the vendor's hand, what was sent.

    The agent asks the vendor at its next contact, and again until there is an answer. At level [bold]off[/bold] it asks
    nobody: then the random ids are printed, for you to tell the vendor. Later events of the user get a new random id;
    use [bold]opt-out[/bold] if there are to be none.

    Examples: heliograph agent forget 42; heliograph agent forget --status
    """
    settings = read_settings(context)
    if [user is not None, all_of is not None, status].count(True) != 1:
        fail(["name one user, or - for ids on standard input, or --all-of FILE, or --status"])
    if not Path(settings.agent.state).is_dir():
        fail([f"{settings.agent.state}: no agent has run with this state yet"])
    with closing(_open_state(settings)) as state:
        if status:
            _print_erasures(state)
        else:
            _forget_all(state, settings, user, all_of)


def mark(
    context: typer.Context,
    user: Annotated[
        str | None,
        typer.Argument(metavar="USER", help="The product's own id of the user; - reads ids from standard input."),
    ] = None,
    as_what: Annotated[
        str | None, typer.Argument(metavar="MARK", help="What the user is: operator, service or person.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Mark a user as the vendor's operator or as a service, so that it counts nowhere; else list who was marked.

    The mark leaves with the user's events from then on, and it goes before the settings [bold]agent.operators[/bold]
    and [bold]agent.service_accounts[/bold]: [bold]person[/bold] is one of the customer's own people, whatever these
    say.

    Examples: heliograph agent mark 7 operator; heliograph agent mark
    """
    import sqlite3  # noqa: PLC0415 - quick --help

    from heliograph.instance.actors import MARKS, MarkTable  # noqa: PLC0415
    from heliograph.instance.opt_outs import checked_user  # noqa: PLC0415

    settings = read_settings(context)
    if (user is None) != (as_what is None):
        fail([f"say whom to mark, and as what: one of {', '.join(MARKS)}"])
    if as_what is not None and as_what not in MARKS:
        fail([f"{as_what!a} is no mark: say one of {', '.join(MARKS)}"])
    try:
        with closing(_open_state(settings)) as state:
            table = MarkTable(state.connection)
            if user is None or as_what is None:
                _print_marks(dict(table.read()), as_json=as_json)
                return
            users = _named(user, checked_user)
            if any(each.endswith("*") for each in users):
                fail(["a pattern belongs to the settings: agent.operators or agent.service_accounts"])
            for each in users:
                table.put(each, as_what)
    except sqlite3.Error as error:
        fail([f"{settings.agent.state}: {error}. It may not hold for all: say it again."])
    out.print(f"{len(users)} marked as {as_what}")


def _print_marks(marks: dict[str, str], *, as_json: bool) -> None:
    from rich.table import Table  # noqa: PLC0415 - quick --help

    if as_json:
        print_json(marks)
        return
    table = Table("user", "mark", title="Who was marked")
    for user, word in marks.items():
        table.add_row(user, word)
    out.print(table)


def _open_state(settings: Settings) -> State:
    from heliograph.instance.state import State, StateError  # noqa: PLC0415 - quick --help

    try:
        return State(Path(settings.agent.state), exclusive=False)
    except StateError as error:
        fail([str(error)])


def _forget_all(state: State, settings: Settings, user: str | None, all_of: Path | None) -> None:
    import sqlite3  # noqa: PLC0415 - quick --help

    from heliograph.instance.forgetting import forget as forget_one  # noqa: PLC0415
    from heliograph.instance.forgetting import scrub  # noqa: PLC0415
    from heliograph.instance.opt_outs import checked_user  # noqa: PLC0415

    users = _named(user, checked_user) if user is not None else _of_file(all_of or Path(), checked_user)
    now = datetime.now(UTC)
    ids: list[str] = []
    done = 0
    try:
        for done, each in enumerate(users):  # noqa: B007 - told when something goes wrong
            ids += forget_one(state, each, outbox=Path(settings.recorder.outbox), now=now).random_ids
    except (OSError, sqlite3.Error) as error:
        fail([f"forgot {done} of {len(users)}, then: {error}. Say it again: who is forgotten already stays so."])
    out.print(f"{len(users)} forgotten; the vendor knew {len(ids)} random id{'' if len(ids) == 1 else 's'} of theirs")
    if not scrub(state.connection):
        out.print("what was deleted is not overwritten on disk yet: the file was in use; say it again to do so")
    if ids and _is_off(settings, now):
        out.print("The level is off, so that nobody is asked: the vendor is not told while it is. Tell it yourself:")
        for random_id in ids:
            typer.echo(random_id)
    elif ids:
        out.print("the agent asks the vendor to erase them at its next contact; see: heliograph agent forget --status")


def _is_off(settings: Settings, now: datetime) -> bool:
    from heliograph.instance.notice import read_notice  # noqa: PLC0415 - quick --help

    notice = read_notice(Path(settings.recorder.outbox))
    told_off = notice is not None and notice.level == "off" and now < notice.until + timedelta(days=1)
    return settings.agent.level == "off" or told_off


def _print_erasures(state: State) -> None:
    from rich.table import Table  # noqa: PLC0415 - quick --help

    from heliograph.instance.erasures import read_erasures  # noqa: PLC0415

    table = Table("asked", "order", "ordered", "random id", title="What the vendor was asked to erase")
    for each in read_erasures(state.connection):
        table.add_row(_moment(each.asked), each.erasure or "no answer yet", _ordered(each), each.user_id or "")
    out.print(table)


def _ordered(each: Erasure) -> str:
    return "" if each.ordered is None else _moment(each.ordered)


def _moment(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat(timespec="seconds")


def _named(user: str, check: Callable[[str], str]) -> list[str]:
    """Return the users that an argument names, or those of standard input."""
    if user != _STANDARD_INPUT:
        return _checked([user], "the argument", check)
    return _checked(sys.stdin.read().splitlines(), "standard input", check)


def _of_file(file: Path, check: Callable[[str], str]) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        fail([f"{file}: cannot be read: {error.strerror}"])
    except UnicodeDecodeError:
        fail([f"{file}: is not UTF-8. Save it as UTF-8 text, one id a line."])
    return _checked(lines, str(file), check)


def _checked(lines: list[str], where: str, check: Callable[[str], str]) -> list[str]:
    """Return the ids of `lines`; end with all problems, in which no id appears."""
    users, problems = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            users.append(check(line.strip()))
        except ValueError:
            problems.append(f"{where}, line {number}: is no user's id: 1 to 1,024 characters of text")
    if problems or not users:
        fail(problems or [f"{where}: names nobody"])
    return users
