"""`heliograph lake compact`, `expire`, `clean`, `retain`, `upkeep` and `files`."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heliograph.cli.common import err, fail, out, print_json, read_settings, use_logs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from heliograph.lake.maintenance.compaction import Compacted
    from heliograph.lake.maintenance.expiry import Removed
    from heliograph.lake.maintenance.retention import Retained
    from heliograph.lake.maintenance.upkeep import Keeper
    from heliograph.settings import Settings

_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing, and say what would be.")]


def compact(
    context: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Rewrite all files, also those that are large.")] = False,
    dry_run: _DryRun = False,
    as_json: _AsJson = False,
) -> None:
    """Rewrite many small files of a partition as few, in the order of questions; the rows stay the same.

    Only partitions with lake.compact_files small files or more are touched. The loader and questions may be at work.
    With engine.kind spark the cluster rewrites them, many at once; docs/cluster.md has what it needs.

    Example: heliograph --config vendor.toml lake compact --dry-run
    """
    with _keeping(context, dry_run=dry_run, rewrites=True) as keeper:
        found = keeper.compact(everything=everything)
    _print(found, _compacted, as_json=as_json)


def expire(context: typer.Context, *, dry_run: _DryRun = False, as_json: _AsJson = False) -> None:
    """Forget snapshots that were replaced more than lake.keep_snapshots_seconds ago, and delete what only they had.

    Example: heliograph --config vendor.toml lake expire
    """
    with _keeping(context, dry_run=dry_run) as keeper:
        found = keeper.expire()
    _print(found, _removed, as_json=as_json)


def clean(context: typer.Context, *, dry_run: _DryRun = False, as_json: _AsJson = False) -> None:
    """Delete orphans: files older than lake.orphan_seconds to which nothing refers, left by processes that were killed.

    Example: heliograph --config vendor.toml lake clean --dry-run
    """
    with _keeping(context, dry_run=dry_run) as keeper:
        found = keeper.clean()
    _print(found, _removed, as_json=as_json)


def retain(context: typer.Context, *, dry_run: _DryRun = False, as_json: _AsJson = False) -> None:
    """Remove rows that are older than their class may be kept. It cannot be taken back.

    The classes are lake.retain_events_days, lake.retain_pings_days and lake.retain_marts_days. The bytes go once
    [bold]heliograph lake expire[/bold] has removed the snapshots from before.

    Example: heliograph --config vendor.toml lake retain --dry-run
    """
    with _keeping(context, dry_run=dry_run) as keeper:
        found = keeper.retain()
    _print(found, _retained, as_json=as_json)


def upkeep(context: typer.Context, *, dry_run: _DryRun = False, as_json: _AsJson = False) -> None:
    """Do all that a lake needs: retain, compact, expire and clean. Call it every few minutes.

    Example: heliograph --config vendor.toml lake upkeep
    """
    with _keeping(context, dry_run=dry_run, rewrites=True) as keeper:
        kept = keeper.upkeep()
    if not dry_run:
        _tell_metrics(read_settings(context))
    if as_json:
        print_json(kept)
        return
    for lines, say in (
        (kept.retained, _retained),
        (kept.compacted, _compacted),
        (kept.expired, _removed),
        (kept.cleaned, _removed),
    ):
        _print_lines(lines, say)
    out.print("The lake is in order." if not dry_run else "Nothing was changed.")


def _tell_metrics(settings: Settings) -> None:
    import structlog  # noqa: PLC0415 - quick --help

    from heliograph.lake.maintenance.metrics import tell_metrics  # noqa: PLC0415

    try:
        tell_metrics(settings, datetime.now(UTC))
    except OSError as error:  # the lake is in order all the same
        structlog.get_logger("heliograph.lake").warning("the metrics cannot be written", why=str(error))


def files(context: typer.Context, *, as_json: _AsJson = False) -> None:
    """Show files, bytes, bytes a row and snapshots of each table, and what maintenance would do.

    Example: heliograph --config vendor.toml lake files
    """
    from heliograph.lake.maintenance.inventory import inventory_table, take_inventory  # noqa: PLC0415 - quick --help

    found = take_inventory(read_settings(context).lake, datetime.now(UTC))
    if as_json:
        print_json(found)
    else:
        out.print(inventory_table(found))


@contextmanager
def _keeping(context: typer.Context, *, dry_run: bool, rewrites: bool = False) -> Iterator[Keeper]:
    """Give a keeper whose progress is shown; end with what went wrong, if something does."""
    from rich.progress import Progress  # noqa: PLC0415 - quick --help

    from heliograph.engines import EngineError  # noqa: PLC0415
    from heliograph.lake.commits import CommitConflictError  # noqa: PLC0415
    from heliograph.lake.exclusion import BusyError  # noqa: PLC0415
    from heliograph.lake.maintenance.layout import LayoutError  # noqa: PLC0415
    from heliograph.lake.maintenance.upkeep import Keeper  # noqa: PLC0415
    from heliograph.lake.rewriting import ErasureError  # noqa: PLC0415
    from heliograph.lake.writers import EmbeddedWriter, open_writer  # noqa: PLC0415

    settings = read_settings(context)
    use_logs()
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("looking at the lake", total=None)

        def tell(step: str, done: int, of: int) -> None:
            progress.update(task, description=step, completed=done, total=of)

        try:
            with open_writer(settings) if rewrites and not dry_run else EmbeddedWriter(settings.lake) as writer:
                yield Keeper(settings.lake, now=lambda: datetime.now(UTC), dry_run=dry_run, tell=tell, writer=writer)
        except EngineError as error:
            fail([*error.problems, "What was done until then stays; run it again."], status=1)
        except (BusyError, CommitConflictError, LayoutError, ErasureError) as error:
            fail([f"{error}. What was done until then stays; run it again."], status=1)


def _print(lines: Sequence[Any], say: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(lines)
    elif not lines:
        out.print("There is nothing to do.")
    else:
        _print_lines(lines, say)


def _print_lines(lines: Sequence[Any], say: Any) -> None:
    for line in lines:
        out.print(f"{line.table}: {say(line)}", highlight=False)


def _compacted(one: Compacted) -> str:
    if not one.files_before:
        return "nothing to compact"
    size = f"{one.bytes_before:,} bytes" + (f" now {one.bytes_after:,}" if one.bytes_after else "")
    told = f"{one.files_before:,} files into {one.files_after:,}, {one.rows:,} rows, {size}"
    more = [f"{one.left_out:,} rows stood there twice"] if one.left_out else []
    more += [f"{one.added_up:,} rows of a mart added to others"] if one.added_up else []
    more += [f"{one.overtaken:,} pieces changed meanwhile"] if one.overtaken else []
    return "; ".join([told, *more])


def _removed(one: Removed) -> str:
    snapshots = f"{one.snapshots:,} snapshots, " if one.snapshots else ""
    return f"{snapshots}{one.files:,} files with {one.bytes:,} bytes removed"


def _retained(one: Retained) -> str:
    return f"{one.rows:,} rows from before {one.before:%Y-%m-%d} removed, out of {one.files:,} files"
