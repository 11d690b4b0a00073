"""`heliograph lake erase` and `heliograph lake erasures`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from heliograph.cli.common import err, fail, out, parse_moment, print_json, read_plan, read_settings, use_logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.consent.erasure import ErasureOrder
    from heliograph.lake.loader import Loader
    from heliograph.lake.writers import Writer
    from heliograph.plan.model import Plan
    from heliograph.registry.erasures import Erasure
    from heliograph.registry.store import Registry
    from heliograph.settings import Settings

_LOOK_SECONDS: Final = 0.3


def erase(
    context: typer.Context,
    *,
    account: Annotated[str, typer.Option(help="Whose events.")],
    since: Annotated[
        datetime,
        typer.Option(parser=parse_moment, metavar="TIME", help="What arrived from this moment on; 1970-01-01 for all."),
    ],
    reason: Annotated[str, typer.Option(help="Why: kept with the order for good.")],
    instance: Annotated[
        str | None, typer.Option(help="One instance of the account; all of them when left out.")
    ] = None,
    recorded_by: Annotated[str, typer.Option(help="Your role or team.")] = "operations",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go, and order nothing.")] = False,
) -> None:
    """Erase what was stored since a date, and prove that it is gone. It cannot be taken back.

    The order is recorded, and carried out once nothing more of what it covers can arrive, some ten seconds later: by
    the loader that runs, or here when none does. Narrow first what may be sent ([bold]heliograph registry end[/bold],
    [bold]override[/bold]), as what arrives afterwards is not covered. Ends with status 1, saying where, when anything
    is found to be left; the order stays pending then, and the loader tries again.

    With engine.kind spark the cluster finds the rows and rewrites the files.

    Example: heliograph --config vendor.toml lake erase --account acme --since 2026-10-01 --reason "agreement-3 revoked"
    """
    from heliograph.engines import EngineError  # noqa: PLC0415 - quick --help
    from heliograph.lake.writers import open_writer  # noqa: PLC0415
    from heliograph.registry import erasures as recorded  # noqa: PLC0415
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415
    from heliograph.registry.store import Registry  # noqa: PLC0415

    settings = read_settings(context)
    plan = read_plan(settings)
    use_logs()
    try:
        with open_writer(settings) as writer, Registry.open(settings.registry) as registry:
            if dry_run:
                _count(settings, registry, writer, account=account, instance=instance, since=since)
                return
            ordered = recorded.order(
                registry,
                account=account,
                instance=instance,
                since=since,
                reason=reason,
                recorded_by=recorded_by,
                now=datetime.now(UTC),
            )
            out.print(f"{ordered.order.id} is ordered.")
            with err.status("waiting") as status:
                found = _see_through(settings, plan, registry, ordered.order, writer=writer, tell=status.update)
    except (RegistryError, EngineError) as error:
        fail(error.problems)
    if found.proof is None:
        fail([found.problem or f"{found.order.id} is still pending"], status=1)
    proof = found.proof
    out.print(
        f"{found.order.id} is proved: {sum(proof.tables.values()):,} rows erased, {proof.files_scanned:,} files with "
        f"{proof.bytes_scanned:,} bytes looked through, and nothing found.",
        highlight=False,
    )


def _count(
    settings: Settings, registry: Registry, writer: Writer, *, account: str, instance: str | None, since: datetime
) -> None:
    from heliograph.lake.erasure import count_covered  # noqa: PLC0415 - quick --help

    now = datetime.now(UTC)
    tables = count_covered(settings, registry, account=account, instance=instance, since=since, now=now, writer=writer)
    for name, count in tables.items():
        out.print(f"{name}: {count:,} rows would go", highlight=False)
    out.print("What the log holds and the lake does not is not counted. Nothing was ordered.")


def _see_through(
    settings: Settings,
    plan: Plan,
    registry: Registry,
    order: ErasureOrder,
    *,
    writer: Writer,
    tell: Callable[[str], object],
) -> Erasure:
    """Wait until a loader has carried the order out, or has failed to; be the loader where there is none."""
    while True:
        found = _find(registry, order)
        if found.proof is not None or found.problem is not None:
            return found
        loader = _take_over(settings, plan, writer)
        if loader is None:
            tell(f"{order.id}: {found.step}")
            time.sleep(_LOOK_SECONDS)
            continue
        try:
            return _carry_out(loader, settings, registry, order, tell)
        finally:
            loader.close()


def _find(registry: Registry, order: ErasureOrder) -> Erasure:
    from heliograph.registry.erasures import read_erasures  # noqa: PLC0415 - quick --help

    return next(each for each in read_erasures(registry) if each.order.id == order.id)


def _take_over(settings: Settings, plan: Plan, writer: Writer) -> Loader | None:
    from heliograph.lake.loader import Loader  # noqa: PLC0415 - quick --help
    from heliograph.lake.loader_locks import LoaderRunningError  # noqa: PLC0415 - quick --help

    try:
        return Loader(settings.gateway, settings.lake, plan, writer)
    except LoaderRunningError:
        return None
    except OSError as error:
        fail([f"the order is recorded, and the lake cannot be opened: {error}"], status=1)


def _carry_out(
    loader: Loader, settings: Settings, registry: Registry, order: ErasureOrder, tell: Callable[[str], object]
) -> Erasure:
    from heliograph.lake.erasure import Eraser  # noqa: PLC0415 - quick --help

    eraser = Eraser(loader, settings, registry, tell=lambda step: tell(f"{order.id}: {step}"))
    while True:
        due = [each for each in eraser.due() if each.order.id == order.id]
        if due:
            eraser.carry_out(due)
            return _find(registry, order)
        tell(f"{order.id}: waiting until nothing more can arrive")
        time.sleep(_LOOK_SECONDS)


def erasures(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Orders and proofs as they are recorded, as JSON.")] = False,
) -> None:
    """Show all erasures: what was ordered, where it stands, and the proofs.

    Example: heliograph --config vendor.toml lake erasures --json
    """
    from heliograph.lake.report import erasure_table  # noqa: PLC0415 - quick --help
    from heliograph.registry.erasures import read_erasures  # noqa: PLC0415
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415
    from heliograph.registry.store import Registry  # noqa: PLC0415

    try:
        with Registry.open(read_settings(context).registry) as registry:
            found = read_erasures(registry)
    except RegistryError as error:
        fail(error.problems)
    if as_json:
        print_json(found)
    elif found:
        out.print(erasure_table(found))
    else:
        out.print("Nothing was ever ordered to be erased.")
