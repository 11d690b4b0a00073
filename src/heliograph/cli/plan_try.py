"""`heliograph plan try`: what a recorded event becomes at each level, on the way and in the lake."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich import box
from rich.table import Table
from rich.text import Text

from heliograph.cli.common import fail, out, print_json, read_settings
from heliograph.event import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph.instance.trial import Trial
    from heliograph.plan.model import Plan

REASONS: Final = {
    Verdict.UNRECORDABLE: "the recorder cannot take it: a reserved name, or a value that no property can have",
    Verdict.UNDECLARED_EVENT: "the plan declares no such event",
    Verdict.UNDECLARED_PROPERTY: "the plan declares no such property for it",
    Verdict.INVALID_PROPERTY: "a property has a value that the plan does not allow",
    Verdict.SENSITIVE_VALUE: "a value looks like personal or secret data",
    Verdict.INVALID_ENVELOPE: "its outcome, source, version or actor is none that the plan allows",
    Verdict.FUTURE_TIME: "its time lies ahead",
    Verdict.MALFORMED: "it does not decode",
}
"""What is told to a person of each verdict that a single event can get here."""
OWN: Final = ("user", "session", "outcome", "source", "version", "actor")
"""What `heliograph.record` takes beside properties."""
NOBODY: Final = "none"
_EXAMPLE: Final = {"instance": "example-1", "account": "example", "epoch": 1, "agreement": "agreement-1"}
"""What the gateway would know of the sender."""
_GIVEN: Final = ("sequence", *_EXAMPLE, "plan", "received")
"""What no product records: it is shown last."""


def try_(
    context: typer.Context,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="The event's name.")],
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Its properties; and `user` (42 unless given, `none` for nobody), `session`, `outcome` (ok unless "
            "given, `none` for none), `source`, `version`, `actor`.",
        ),
    ] = None,
    *,
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="FILE", help="The tracking plan. Default: the one of the settings.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what an event becomes: as recorded, on the way at level `events`, in the lake; at `critical`; at `off`.

    It is handled by the code that handles real events, in a folder that is thrown away; nothing is sent. The exit
    status is 1 if the event would not leave.

    Examples: [bold]heliograph plan try SearchSubmitted pattern_type=regexp duration_ms=41[/bold];
    [bold]heliograph plan try SearchSubmitted query=secret outcome=failed --json[/bold]
    """
    from heliograph.instance.trial import try_event  # noqa: PLC0415 - quick --help

    chosen = _read_plan(context, plan)
    given = _parse(values or [], chosen, event)
    version = given.pop("version", None)
    tried = try_event(chosen, event, given, version=version)
    row = _row(chosen, tried)
    if as_json:
        print_json({**msgspec.to_builtins(tried, builtin_types=(datetime,)), "lake": row, "off": None})
    else:
        _show(chosen, tried, row)
    if tried.sent is None:
        raise typer.Exit(1)


def _read_plan(context: typer.Context, file: str | None) -> Plan:
    from heliograph.plan.load import PlanError, load_plan  # noqa: PLC0415 - quick --help

    try:
        return load_plan(read_settings(context).plan.file if file is None else file)
    except PlanError as error:
        fail(map(str, error.problems), status=1)


def _parse(words: list[str], plan: Plan, event: str) -> dict[str, Any]:
    """Return the keyword arguments of `record` that `words` mean."""
    from heliograph.plan.model import MemberProperty  # noqa: PLC0415 - quick --help

    wrong = [word for word in words if not word.partition("=")[0].isidentifier() or "=" not in word]
    if wrong:
        fail(f"{word!r} is no KEY=VALUE: write a property and its value, as in duration_ms=41." for word in wrong)
    given: dict[str, Any] = {"user": "42"}
    properties = plan.events[event].properties if event in plan.events else {}
    for word in words:
        key, _, value = word.partition("=")
        is_word = key in OWN or isinstance(properties.get(key), MemberProperty)
        given[key] = value if is_word else _scalar(value)
    return {key: None if key in OWN and value == NOBODY else value for key, value in given.items()}


def _scalar(text: str) -> Any:
    """Return a number or a truth value if `text` is one, as JSON writes them, and else the text."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _row(plan: Plan, tried: Trial) -> dict[str, Any] | None:
    """Return the row of the lake, without its nulls; None where the lake's packages are not installed."""
    if tried.sent is None or importlib.util.find_spec("pyiceberg") is None:
        return None
    from heliograph.lake.tables import event_schema  # noqa: PLC0415 - only the vendor has it

    known = {**_EXAMPLE, "plan": plan.label, "received": datetime.now(UTC), **tried.sent}
    known.setdefault("sequence", 1)
    return {column: known[column] for column in event_schema(plan).names if column in known}


def _show(plan: Plan, tried: Trial, row: Mapping[str, Any] | None) -> None:
    leaves = tried.sent is not None
    heading = Text.assemble((tried.name, "bold"), f" under {tried.plan}: ")
    heading.append("it leaves at level events" if leaves else "it does not leave", style="green" if leaves else "red")
    out.print(heading)
    if tried.recorded is not None:
        out.print(_fields(tried, row))
    if tried.sent is not None:
        out.print(Text("On the way, at level events:", style="bold"))
        out.print(Text(f"  {msgspec.json.encode(tried.sent).decode()}"), soft_wrap=True)
    if tried.skeleton is not None:
        out.print(Text("Not at level events either:", style="bold"), Text(REASONS.get(tried.verdict, "")))
        told = msgspec.json.encode({tried.skeleton.name: {tried.verdict: 1}}).decode()
        counted = f"{told} is all that the gateway is told." if tried.recorded else "It is counted on the instance."
        out.print(Text(f"  {counted}"), soft_wrap=True)
    if leaves and row is None:
        out.print(Text("In the lake: not shown, as the vendor's packages are not installed here.", style="dim"))
    _show_ping(plan, tried)
    out.print(Text.assemble(("At level off:", "bold"), " nothing."))


def _fields(tried: Trial, row: Mapping[str, Any] | None) -> Table:
    """Return what becomes of each field, from the instance to the lake."""
    from heliograph.instance.trial import RAW_IDS  # noqa: PLC0415 - quick --help

    recorded, sent, stored = tried.recorded or {}, tried.sent or {}, row or {}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("field", "recorded", *(["sent"] if sent else []), *(["lake"] if row else []), ""):
        table.add_column(column, overflow="fold")
    hidden = {RAW_IDS[raw] for raw in RAW_IDS if raw in recorded}  # they stand beside the product's own
    names = [name for name in dict.fromkeys((*recorded, *sent, *stored)) if name not in hidden]
    for name in sorted(names, key=lambda name: name in _GIVEN):
        wire = RAW_IDS.get(name, name)
        cells = [f"{name} → {wire}" if wire in hidden and sent else name, _cell(recorded.get(name))]
        cells += [_cell(sent.get(wire))] if sent else []
        as_sent = wire in sent and sent[wire] == stored.get(wire)
        cells += ["as sent" if as_sent else _cell(stored.get(wire))] if row else []
        at_fault = tried.skeleton is not None and tried.skeleton.field == name
        note = "at fault" if at_fault else tried.left_out.get(name, tried.changed.get(name, ""))
        table.add_row(
            *map(Text, (*cells, note)), style="red" if at_fault else "yellow" if name in tried.left_out else ""
        )
    return table


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case datetime():
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case _:
            return msgspec.json.encode(value).decode()


def _show_ping(plan: Plan, tried: Trial) -> None:
    from heliograph.ping import SMALLEST_GROUP  # noqa: PLC0415 - quick --help

    out.print(Text("At level critical:", style="bold"), end=" ")
    if not tried.ping:
        unknown = tried.name not in plan.events
        reason = "the plan does not declare it" if unknown else "it is nobody's, or was not recorded"
        out.print(Text(f"nothing, as {reason}."))
        return
    moved = ", ".join(f"{path} by {number}" for path, number in tried.ping.items())
    out.print(Text(f"the ping of its day, whose numbers it can raise: {moved}."), soft_wrap=True)
    out.print(Text(f"  A number about fewer than {SMALLEST_GROUP} users is left out.", style="dim"))
