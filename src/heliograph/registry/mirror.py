"""The mirror of consent in the CRM: opened as the settings say, looked into, and set right."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from heliograph.registry.crm import Crm, CrmError, Finding, Outcome, Standing, changes, compare, evidence

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from heliograph.registry.snapshot import Snapshot
    from heliograph.settings import CrmSettings


class Sync(msgspec.Struct, frozen=True):
    """What a synchronisation found and did."""

    findings: list[Finding]
    """How things stood before."""
    outcomes: list[Outcome]
    """What became of each change; a rehearsal has no problems."""


@contextmanager
def open_crm(settings: CrmSettings) -> Iterator[Crm]:
    """Open the CRM that `settings` name.

    Raises:
        CrmError: There is none, or the settings do not suffice for it.
    """
    crm = _open(settings)
    try:
        yield crm
    finally:
        crm.close()


def _open(settings: CrmSettings) -> Crm:
    # Each kind brings only what it needs: a file needs no HTTP.
    if settings.kind == "salesforce":
        from heliograph.registry.salesforce import SalesforceCrm  # noqa: PLC0415 - see above

        return SalesforceCrm(settings)
    if settings.kind == "csv":
        from heliograph.registry.crm_file import CrmFile  # noqa: PLC0415 - see above

        return CrmFile(settings)
    raise CrmError(["crm.kind: no CRM is set; set it to csv or to salesforce, see docs/crm.md"])


def check(crm: Crm, snapshot: Snapshot, at: datetime) -> list[Finding]:
    """Return how `crm` stands to the evidence in `snapshot` at the moment `at`.

    Raises:
        CrmError: The CRM cannot be read.
    """
    return compare(evidence(snapshot, at), crm.read())


def sync(crm: Crm, snapshot: Snapshot, at: datetime, *, rehearse: bool = False) -> Sync:
    """Make `crm` say what the evidence in `snapshot` says at the moment `at`; with `rehearse`, only tell what would be.

    Raises:
        CrmError: The CRM cannot be read; or the registry is empty, which is more likely another database than
            the end of every agreement.
    """
    findings = check(crm, snapshot, at)
    if not snapshot.accounts and any(finding.standing is Standing.UNKNOWN_HERE for finding in findings):
        raise CrmError(
            ["registry.url: this registry has no account, so every Yes in the CRM would become No: name the right one"]
        )
    wanted = changes(findings, at, can_add=crm.can_add)
    if not wanted:
        return Sync(findings, [])
    return Sync(findings, [Outcome(change) for change in wanted] if rehearse else crm.write(wanted))
