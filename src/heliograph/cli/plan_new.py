"""`heliograph plan new`: a few questions, and an event that loads and lints, written where it belongs."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from heliograph.cli.common import fail, out, read_settings
from heliograph.cli.plan_questions import ask_event, ask_plan

if TYPE_CHECKING:
    from heliograph.cli.plan_questions import Draft
    from heliograph.plan.files import PlanFile

YEAR: Final = timedelta(days=365)
_KEYED: Final = re.compile(r"(\w+)\s*:\s*(.+)", re.DOTALL)


def new(
    context: typer.Context,
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="The plan, a file or a folder. Default: the one of the settings."),
    ] = None,
    *,
    plan: Annotated[
        str | None,
        typer.Option("--plan", metavar="NAME", help="Begin a new plan of this name, in FILE, or else in NAME.yaml."),
    ] = None,
    about: Annotated[str | None, typer.Option("--about", help="What a new plan covers, in a sentence.")] = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Where events of a new plan come from; may be repeated.")
    ] = None,
    event: Annotated[str | None, typer.Option("--event", metavar="NAME", help="The event's name.")] = None,
    feature: Annotated[
        str | None,
        typer.Option("--feature", help="The feature that it belongs to: `search`, or `search: What it is.`."),
    ] = None,
    description: Annotated[str | None, typer.Option("--description", help="What happened, in a sentence.")] = None,
    action: Annotated[
        str | None, typer.Option("--action", help="What the user did, in a word or two. Default: the name in words.")
    ] = None,
    question: Annotated[str | None, typer.Option("--question", help="The question that it helps to answer.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="The team to ask.")] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="`never`, or a day such as 2027-06-30. Default: in a year.")
    ] = None,
    core: Annotated[bool, typer.Option("--core", help="It is one of the product's core actions.")] = False,
    passive: Annotated[bool, typer.Option("--passive", help="It does not make its user active.")] = False,
    outcome: Annotated[
        list[str] | None,
        typer.Option("--outcome", metavar="KEY: MEANING", help="An outcome; may be repeated. Default: ok alone."),
    ] = None,
    property_: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            metavar="NAME TYPE FIELD=VALUE...: MEANING",
            help="A property, such as `duration_ms duration maximum=60000: Time taken.`; may be repeated.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change, and write nothing.")] = False,
) -> None:
    """Add an event to the plan, or begin a plan with it: asks what is not given, and writes what loads and lints.

    It is inserted after the last event of its feature; comments and layout stay as they are. The plan's version is
    raised. A bad answer is asked again with the reason; Ctrl-C leaves everything as it was. Without a terminal nothing
    is asked, and all that is missing is told at once.

    Examples: [bold]heliograph plan new[/bold]; [bold]heliograph plan new --plan my-product[/bold];
    [bold]heliograph plan new plans/code-intelligence.yaml --event NotebookShared --feature notebooks --owner notebooks
    --description "A user shared a notebook." --question "Do people share notebooks?" --dry-run[/bold]
    """
    today = datetime.now(UTC).date()
    given = {
        "feature": feature,
        "description": description,
        "action": action,
        "question": question,
        "owner": owner,
        "expires": expires,
    }
    place = Path(file or (f"{plan}.yaml" if plan else read_settings(context).plan.file))
    files = [] if plan else _read(place)
    if plan and place.exists():
        fail([f"{place}: is there already. Name another file, or add to it without --plan."], status=1)
    draft = ask_plan(files, place, plan, about, source or [], today=today)
    draft.values |= {"core": core, "active": not passive}
    ask_event(draft, event, given, _keyed(outcome or []), property_ or [], expires=str(today + YEAR))
    _finish(draft, files, place, dry_run=dry_run)


def _read(place: Path) -> list[PlanFile]:
    from heliograph.plan.files import read_files  # noqa: PLC0415 - quick --help
    from heliograph.plan.load import PlanError, load_plan  # noqa: PLC0415 - quick --help

    try:
        load_plan(place)
        return read_files(place)
    except PlanError as error:
        fail(map(str, error.problems), status=1)


def _keyed(texts: list[str]) -> dict[str, str]:
    wrong = [text for text in texts if not _KEYED.fullmatch(text)]
    if wrong:
        fail(f"--outcome {text!r} is no KEY: MEANING, as in `timed_out: It took too long.`." for text in wrong)
    return {found[1]: found[2] for text in texts if (found := _KEYED.fullmatch(text))}


def _finish(draft: Draft, files: list[PlanFile], place: Path, *, dry_run: bool) -> None:
    """Show or write what the answers make, which has been read by the loader already."""
    made = draft.made()
    before = {each.name: each.content for each in files}
    changed = [each for each in made if before.get(each.name) != each.content]
    if dry_run or draft.asked:
        for each in changed:
            sys.stdout.writelines(_difference(before.get(each.name, b""), each))
    if dry_run:
        return
    if draft.asked:
        typer.confirm("Write this?", default=True, abort=True)
    for each in changed:
        _write(Path(each.name), before.get(each.name), each.content)
    label = draft.plan().label
    out.print(f"{place}: {draft.name} is in, the plan is {label} now.", markup=False, highlight=False, soft_wrap=True)
    out.print(
        f"Next: heliograph plan lint {place}; heliograph plan try {draft.name} --plan {place}; heliograph plan diff.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _difference(before: bytes, after: PlanFile) -> list[str]:
    old, new = (each.decode("utf-8-sig").splitlines(keepends=True) for each in (before, after.content))
    return list(difflib.unified_diff(old, new, after.name, after.name))


def _write(path: Path, before: bytes | None, content: bytes) -> None:
    """Put a file's new content in its place at once: whoever reads it, or a power cut, finds the old or the new."""
    path = path.resolve()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if before is not None and path.read_bytes() != before:
            fail([f"{path}: was changed while you answered. Nothing is written; begin again."], status=1)
        beside.write_bytes(content)
        if before is not None:
            shutil.copymode(path, beside)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        fail([f"{path}: cannot be written: {error.strerror}."], status=1)
