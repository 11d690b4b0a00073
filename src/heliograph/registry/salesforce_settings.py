"""What is needed to reach Salesforce, taken from the settings with everything that is wrong in them."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from heliograph.registry.crm import CrmError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.settings import CrmSettings

_FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
_VERSION: Final = re.compile(r"[1-9][0-9]{1,2}\.0")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_LONGEST_SECRET: Final = 1_000


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """Where Salesforce is, and who asks. Its secret is left out where it is shown."""

    url: str
    """Without a slash at its end."""
    key: str
    secret: str
    authority: str
    """File with the certificates to trust; empty: the usual ones."""
    timeout_seconds: float

    def __repr__(self) -> str:
        return f"Connection({self.url})"


def connection(settings: CrmSettings) -> Connection:
    """Return what `settings` say.

    Raises:
        CrmError: They do not suffice: all that is wrong with them, and never a secret.
    """
    problems = [*_address_problems(settings), *_field_problems(settings)]
    secret = settings.consumer_secret
    if not secret:
        try:
            secret = _secret_of(settings.consumer_secret_file)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise CrmError(problems)
    return Connection(
        url=settings.url.rstrip("/"),
        key=settings.consumer_key,
        secret=secret,
        authority=settings.certificate_authority,
        timeout_seconds=settings.timeout_seconds,
    )


def _address_problems(settings: CrmSettings) -> Iterator[str]:
    if not _is_https(settings.url):
        yield "crm.url: is no https address of an organisation; set it, such as https://example.my.salesforce.com"
    if not _VERSION.fullmatch(settings.api_version):
        yield "crm.api_version: is no version of the API; set it, such as 62.0"
    if not settings.consumer_key:
        yield "crm.consumer_key: is empty; set it to the consumer key of the connected app"
    authority = settings.certificate_authority
    if authority and not Path(authority).is_file():
        yield f"crm.certificate_authority: there is no file {authority}; name one with certificates (PEM)"


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    place = (parts.hostname or "") + ("" if port is None else f":{port}")
    return (
        parts.scheme == "https"
        and bool(parts.hostname)
        and parts.netloc.lower() == place
        and url.rstrip("/") == (f"https://{parts.netloc}")
    )


def _field_problems(settings: CrmSettings) -> Iterator[str]:
    fields = {name: getattr(settings, name) for name in ("account_field", "value_field", "date_field")}
    for name, field in fields.items():
        if not _FIELD.fullmatch(field):
            yield f"crm.{name}: is no API name of a field; set it, such as Heliograph_Account__c"
    if len({field.casefold() for field in fields.values()}) < len(fields):
        yield "crm.account_field, crm.value_field, crm.date_field: must be three different fields"
    yes, no = settings.yes.strip().casefold(), settings.no.strip().casefold()
    if not yes or not no or yes == no:
        yield "crm.yes, crm.no: must be two different words; set them, such as Yes and No"


def _secret_of(file: str) -> str:
    """Return the secret that `file` holds; raise a `ValueError` that says why there is none."""
    if not file:
        raise ValueError(
            "crm.consumer_secret: is empty; give it by HELIOGRAPH_CRM_CONSUMER_SECRET in the environment, or name a "
            "file that holds it in crm.consumer_secret_file"
        )
    try:
        with Path(file).open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            content = stream.read(_LONGEST_SECRET + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"crm.consumer_secret_file: {file} cannot be read; name a file that can") from error
    if mode & _OTHERS:
        raise ValueError(
            f"crm.consumer_secret_file: {file} can be read by others (mode {mode:04o}); run: chmod 600 {file}. If "
            "somebody may have read it, make a new secret in Salesforce"
        )
    secret = content.decode("utf-8", errors="replace").strip()
    if not secret or len(content) > _LONGEST_SECRET or not secret.isprintable():
        raise ValueError(f"crm.consumer_secret_file: {file} does not hold one secret; write the secret alone into it")
    return secret
