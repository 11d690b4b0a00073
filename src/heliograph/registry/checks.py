"""What keeps a request to the registry from being carried out: each check returns its problems."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from heliograph import keys
from heliograph.consent.agreement import Agreement, Amendment, Ending
from heliograph.consent.contract import contract_doubts
from heliograph.consent.records import VENDOR, Stored, chain_of, of_kind, record_problems
from heliograph.event import INSTANCE_PATTERN
from heliograph.registry.chains import chain_words
from heliograph.registry.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from heliograph.registry.snapshot import Snapshot


def raise_any(problems: Iterable[str]) -> None:
    """Raise a `RegistryError` of `problems` if there are any."""
    found = list(problems)
    if found:
        raise RegistryError(found)


def check_new_account(snapshot: Snapshot, name: str) -> list[str]:
    """Return what is wrong with adding an account called `name`."""
    problems = _check_name("account", name)
    if name in snapshot.accounts:
        problems.append(f"account {name!r} is already registered")
    return problems


def check_new_instance(snapshot: Snapshot, name: str) -> list[str]:
    """Return what is wrong with adding an instance called `name`."""
    problems = _check_name("instance", name)
    if name in snapshot.instances:
        problems.append(f"instance {name!r} is already registered; to give it another key: replace-key")
    return problems


def check_account(snapshot: Snapshot, name: str) -> list[str]:
    """Return a problem if there is no account `name`."""
    if name in snapshot.accounts:
        return []
    return [f"there is no account {name!r}: add it with `heliograph registry add-account`, or see `list`"]


def check_instance(snapshot: Snapshot, name: str) -> list[str]:
    """Return a problem if there is no instance `name`."""
    if name in snapshot.instances:
        return []
    return [f"there is no instance {name!r}: add it with `heliograph registry add-instance`, or see `list`"]


def check_agreement(snapshot: Snapshot, agreement: str) -> list[str]:
    """Return a problem if there is no agreement with the id `agreement`."""
    if agreement in snapshot.agreements():
        return []
    return [f"there is no agreement {agreement!r}: `heliograph registry list` shows all"]


def check_record(snapshot: Snapshot, chain: str, record: Stored) -> list[str]:
    """Return what is wrong with adding `record` to the chain of this name."""
    problems = [] if chain == VENDOR else check_account(snapshot, chain)
    if chain_of(record) != chain:
        problems.append(f"the record belongs to {chain_words(chain_of(record))}, not to {chain_words(chain)}")
    zones = [problem for field in record.__struct_fields__ for problem in _check_zone(field, getattr(record, field))]
    problems += zones or record_problems(record)
    return problems or [*_check_with_earlier(snapshot, chain, record), *_check_instance_of(snapshot, chain, record)]


def _check_with_earlier(snapshot: Snapshot, chain: str, record: Stored) -> list[str]:
    """Return what `record` would make doubtful beside the records before it, which nothing could mend."""
    if not isinstance(record, Agreement | Amendment | Ending):
        return []
    records = snapshot.accounts[chain].records
    known = contract_doubts(records)
    problems = [doubt for doubt in contract_doubts((*records, record)) if doubt not in known]
    if isinstance(record, Amendment):
        endings = [ending for ending in of_kind(records, Ending) if ending.agreement == record.agreement]
        problems += [
            f"{ending.agreement} was ended at {ending.effective}: what ended is not amended, record a new agreement"
            for ending in endings
            if ending.effective <= record.effective
        ]
    return problems


def _check_instance_of(snapshot: Snapshot, account: str, record: Stored) -> list[str]:
    name = getattr(record, "instance", None)
    if name is None or (name in snapshot.instances and snapshot.instances[name].account == account):
        return []
    return [f"there is no instance {name!r} of account {account!r}: `heliograph registry list` shows all"]


def next_id(kind: str, taken: Iterable[str]) -> str:
    """Return an id for another record of this kind."""
    numbers = (int(number) for name in taken if (number := name.removeprefix(f"{kind}-")).isdecimal())
    return f"{kind}-{max(numbers, default=0) + 1}"


def check_target(target: str, found: Sequence[str]) -> list[str]:
    """Return a problem unless exactly one thing, of the kinds `found`, is called `target`."""
    if not found:
        return [f"there is no account or instance {target!r}: `heliograph registry list` shows all"]
    if len(found) > 1:
        return [f"{target!r} is both an {' and an '.join(found)}: say which with --kind"]
    return []


def check_key(snapshot: Snapshot, name: str, public_key: str) -> list[str]:
    """Return what is wrong with giving the instance `name` this public key."""
    try:
        fingerprint = keys.fingerprint(keys.parse_public_key(public_key))
    except ValueError as error:
        return [f"key of {name!r}: {error}"]
    return [
        f"key of {name!r}: it is the key of instance {other.name!r} already; each instance makes its own"
        for other in snapshot.instances.values()
        if other.fingerprint == fingerprint and other.name != name
    ]


def _check_zone(field: str, value: object) -> list[str]:
    if not isinstance(value, datetime) or value.tzinfo is not None:
        return []
    return [f"{field.replace('_', ' ')} {value.isoformat()} has no time zone: give it in UTC"]


def _check_name(kind: str, name: str) -> list[str]:
    if INSTANCE_PATTERN.fullmatch(name):
        return []
    rule = "use 1 to 63 lower-case letters, digits, '-', '_' and '.', a letter or a digit first"
    return [f"{kind} name {name!r}: {rule}"]
