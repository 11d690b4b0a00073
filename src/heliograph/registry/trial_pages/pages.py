"""The pages as HTML, each from its template and what it tells."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from heliograph.registry.terms import paragraphs
from heliograph.registry.trials import PATH, LinkState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from heliograph.consent.agreement import Agreement
    from heliograph.registry.terms import Terms
    from heliograph.registry.trials import TrialLink
    from heliograph.settings import TrialsSettings

ASSETS_PATH: Final = "/assets/"
TERMS_PATH: Final = "/terms/"
RECORD: Final = "/accepted"
"""What follows the token in the address of what was recorded."""

_MAIL: Final = re.compile(r"[^\s@:?&]+@[^\s@:?&]+")


class Asset(NamedTuple):
    """A file that pages load."""

    content: bytes
    media_type: str


def read_assets() -> dict[str, Asset]:
    """Return the files by name; the name holds the digest, so that a copy can be kept for good."""
    folder = files("heliograph.registry.trial_pages") / "assets"
    kinds = {"trial.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}
    assets = {}
    for name, media_type in kinds.items():
        content = (folder / name).read_bytes()
        stem, _, ending = name.partition(".")
        assets[f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}.{ending}"] = Asset(content, media_type)
    return assets


class Problem(NamedTuple):
    """Why an offer is shown again."""

    status: int
    title: str
    text: str
    target: str
    """The id of what to look at."""
    action: str


TERMS_CHANGED: Final = Problem(
    409,
    "The Terms have changed",
    "While you had this page open, the vendor published other Terms. Nothing was accepted. They are shown below.",
    "terms",
    "Read the new Terms",
)
NOT_AUTHORISED: Final = Problem(
    422,
    "One thing is missing",
    "Nothing was accepted, as the box was not ticked: only somebody who is authorised can accept.",
    "authorised",
    "Go to the box",
)


class Message(NamedTuple):
    """A page that says why something cannot be done, and what can."""

    status: int
    title: str
    lead: str
    steps: tuple[str, ...]


def unusable_message(state: LinkState | None, contact: str) -> Message:
    """Return what to say of a link that cannot be accepted; `state` is None where there is no such link."""
    another = f"Ask {contact} for a new link."
    if state is LinkState.EXPIRED:
        return Message(
            410,
            "This link has expired",
            "It was not used in time. Nothing was accepted, and nothing is collected because of it.",
            (another,),
        )
    if state is LinkState.REVOKED:
        return Message(
            410,
            "This link was taken back",
            "Whoever made it has withdrawn it. Nothing was accepted, and nothing is collected because of it.",
            (f"If you expected to use it, ask {contact} why.",),
        )
    if state is LinkState.ACCEPTED:
        return Message(
            410,
            "This link has been used",
            "The Terms were accepted with it. A link can be used once.",
            (
                "See what was recorded, and how to change one's mind.",
                f"If you did not expect that, tell {contact}.",
            ),
        )
    return Message(
        404,
        "There is nothing at this address",
        "If you followed a link to a trial, it is not one that is known here.",
        ("Compare the address with the one you were sent: it must be whole, to its last character.", another),
    )


class Pages:
    """Makes the pages, for one vendor and its Terms."""

    def __init__(self, settings: TrialsSettings, terms: Terms, assets: dict[str, Asset]) -> None:
        self._environment = Environment(
            loader=PackageLoader("heliograph.registry.trial_pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        by_ending = {name.rpartition(".")[2]: f"{ASSETS_PATH}{name}" for name in assets}
        self.contact = settings.contact or "whoever sent you the link"
        self._environment.globals.update(
            vendor=settings.vendor,
            vendor_name=settings.vendor[:1].upper() + settings.vendor[1:],
            contact=self.contact,
            contact_address=_contact_address(settings.contact),
            style=by_ending["css"],
            icon=by_ending["svg"],
        )
        self._terms = terms
        self._paragraphs = paragraphs(terms.text)

    def offer(self, link: TrialLink, token: str, problem: Problem | None = None) -> HTMLResponse:
        """Return the page on which the Terms can be accepted."""
        return self._response(
            "offer.html",
            problem.status if problem else 200,
            link=link,
            days=_days(link.days),
            expires=_moment(link.expires),
            problem=problem,
            terms=self._terms,
            paragraphs=self._paragraphs,
            terms_file=f"{TERMS_PATH}{self._terms.digest}",
            action=f"{PATH}{token}",
        )

    def record(self, link: TrialLink, agreement: Agreement, until: datetime | None, now: datetime) -> HTMLResponse:
        """Return the page that tells what was accepted; `until` is the first moment at which it does not hold."""
        return self._response(
            "record.html",
            200,
            link=link,
            agreement=agreement,
            begin=_moment(agreement.effective_from),
            until=until,
            end=None if until is None else _moment(until),
            ended=until is not None and until <= now,
            terms_file=f"{TERMS_PATH}{agreement.terms_digest}",
        )

    def message(
        self, message: Message, record: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> HTMLResponse:
        """Return a page that says why not; `record` is the address of what was recorded instead."""
        told = {"title": message.title, "lead": message.lead, "steps": message.steps, "record": record}
        return HTMLResponse(self._environment.get_template("message.html").render(told), message.status, headers)

    def _response(self, template: str, status: int, **told: object) -> HTMLResponse:
        return HTMLResponse(self._environment.get_template(template).render(told), status)


def _days(days: int) -> str:
    return "one day" if days == 1 else f"{days} days"


def _moment(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _contact_address(contact: str) -> str | None:
    """Return where a link on `contact` leads; None when it is words alone."""
    if contact.startswith("https://"):
        return contact
    return f"mailto:{contact}" if _MAIL.fullmatch(contact) else None
