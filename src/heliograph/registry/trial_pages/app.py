"""The trial server as an ASGI application: addresses, and what is answered. What is recorded is in `trials`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from heliograph.consent.contract import standings
from heliograph.registry import webhook
from heliograph.registry.sign_up_problems import SignUpRefusal, SignUpRefusedError
from heliograph.registry.sign_ups import SignUps
from heliograph.registry.terms import published_content
from heliograph.registry.trial_pages.pages import (
    ASSETS_PATH,
    NOT_AUTHORISED,
    RECORD,
    TERMS_CHANGED,
    TERMS_PATH,
    Message,
    Pages,
    read_assets,
    unusable_message,
)
from heliograph.registry.trial_pages.protection import (
    BodyIncompleteError,
    BodyTooLargeError,
    Protection,
    bounded_body,
    is_from_our_page,
)
from heliograph.registry.trials import PATH, LinkState, LinkUnusableError, TermsChangedError, TrialLinks
from heliograph.wire import HEALTH_PATH, JSON, PROBLEM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from standardwebhooks import Webhook
    from starlette.requests import Request

    from heliograph.registry.store import Registry
    from heliograph.registry.terms import Terms
    from heliograph.settings import TrialsSettings

SIGN_UP_PATH: Final = "/webhooks/signup"

_MOST_FORM_BYTES: Final = 4 << 10
_MOST_FORM_FIELDS: Final = 8
_FORM: Final = "application/x-www-form-urlencoded"
_FOR_GOOD: Final = "public, max-age=31536000, immutable"

_NOT_FROM_OUR_PAGE: Final = Message(
    403,
    "This did not come from our page",
    "Terms are accepted by the button on the page that shows them, in a current browser. Nothing was accepted.",
    ("Open the link that you were sent again, and use the button on its page.",),
)
_NOT_OUR_FORM: Final = Message(
    400,
    "This is not what our page sends",
    "Nothing was accepted.",
    ("Open the link that you were sent again, and use the button on its page.",),
)
_TOO_LARGE: Final = _NOT_OUR_FORM._replace(status=413)
_UNSUPPORTED: Final = _NOT_OUR_FORM._replace(status=415)
_METHOD: Final = _NOT_OUR_FORM._replace(status=405)
_UNAVAILABLE: Final = Message(
    503,
    "We cannot answer now",
    "Something on our side does not work. Nothing was accepted.",
    ("Try again in a few minutes: the link stays as it is.",),
)

_log: Final = structlog.get_logger("heliograph.trials")


class TrialServer:
    """What is answered at each address; see `application`.

    Args:
        registry: Where links, sign-ups and agreements are recorded.
        settings: The section `trials`.
        terms: Those in force; published already.
        secrets: Of the webhook.
        now: The clock.
    """

    def __init__(
        self,
        registry: Registry,
        settings: TrialsSettings,
        terms: Terms,
        secrets: Sequence[Webhook],
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._terms = terms
        self._secrets = secrets
        self._now = now
        self._links = TrialLinks(registry)
        self._sign_ups = SignUps(registry, days=settings.sign_up_days)
        self._assets = read_assets()
        self._pages = Pages(settings, terms, self._assets)

    def application(self) -> Starlette:
        """Return the ASGI application."""
        application = Starlette(
            routes=[
                Route(PATH + "{token}", self.show_offer, methods=["GET"]),
                Route(PATH + "{token}", self.accept, methods=["POST"]),
                Route(PATH + "{token}" + RECORD, self.show_record, methods=["GET"]),
                Route(TERMS_PATH + "{digest}", self.show_terms, methods=["GET"]),
                Route(ASSETS_PATH + "{name}", self.show_asset, methods=["GET"]),
                Route("/favicon.ico", self.show_icon, methods=["GET"]),
                Route(SIGN_UP_PATH, self.take_sign_up, methods=["POST"]),
                Route(HEALTH_PATH, self.tell_health, methods=["GET"]),
            ],
            middleware=[Middleware(Protection, when_unavailable=self.tell_unavailable)],
            exception_handlers={404: self.tell_unknown, 405: self.tell_method},
        )
        application.router.redirect_slashes = False
        return application

    async def show_offer(self, request: Request) -> Response:
        """Show the Terms, and the form that accepts them."""
        token = request.path_params["token"]
        link = await run_in_threadpool(self._links.find, token)
        state = None if link is None else link.state(self._now())
        if link is None or state is not LinkState.OPEN:
            return self._unusable(state, token)
        return self._pages.offer(link, token)

    async def accept(self, request: Request) -> Response:
        """Record the acceptance that the form sends, and go on to what was recorded."""
        if not is_from_our_page(request, self._settings.public_address):
            return self._pages.message(_NOT_FROM_OUR_PAGE)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            return self._pages.message(_UNSUPPORTED)
        try:
            form = _read_form(await bounded_body(request, _MOST_FORM_BYTES))
        except BodyTooLargeError:
            return self._pages.message(_TOO_LARGE)
        except (BodyIncompleteError, ValueError):
            return self._pages.message(_NOT_OUR_FORM)
        return await run_in_threadpool(self._accept, request.path_params["token"], form)

    def _accept(self, token: str, form: dict[str, str]) -> Response:
        link = self._links.find(token)
        state = None if link is None else link.state(self._now())
        if link is not None and state is LinkState.OPEN and form.get("authorised") != "yes":
            return self._pages.offer(link, token, NOT_AUTHORISED)
        try:
            accepted, agreement = self._links.accept(
                token, shown_digest=form.get("terms_digest", ""), terms=self._terms
            )
        except TermsChangedError:
            return self._unusable(None, token) if link is None else self._pages.offer(link, token, TERMS_CHANGED)
        except LinkUnusableError as error:
            if error.state is LinkState.ACCEPTED:
                return self._go_to_record(token)  # as after a second press of the button
            return self._unusable(error.state, token)
        _log.info("trial accepted", link=accepted.id, agreement=agreement.id)
        return self._go_to_record(token)

    def _go_to_record(self, token: str) -> Response:
        return RedirectResponse(f"{PATH}{token}{RECORD}", 303)

    async def show_record(self, request: Request) -> Response:
        """Show what was recorded when a link was accepted, and how to change one's mind."""
        return await run_in_threadpool(self._record, request.path_params["token"])

    def _record(self, token: str) -> Response:
        link = self._links.find(token)
        if link is None or link.agreement is None:
            return self._unusable(None, token)
        snapshot = self._registry.snapshot()
        standing = next(
            each
            for each in standings(snapshot.accounts[link.account].records, datetime.max.replace(tzinfo=UTC))
            if each.agreement.id == link.agreement
        )
        return self._pages.record(link, standing.agreement, standing.ends, self._now())

    async def show_terms(self, request: Request) -> Response:
        """Give Terms that were published, byte for byte."""
        content = await run_in_threadpool(published_content, self._registry, request.path_params["digest"])
        if content is None:
            return self._unusable(None, "")
        return Response(content, media_type="text/plain; charset=utf-8")

    async def show_asset(self, request: Request) -> Response:
        """Give a file that pages load."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return self._unusable(None, "")
        return Response(asset.content, media_type=asset.media_type, headers={"cache-control": _FOR_GOOD})

    async def show_icon(self, request: Request) -> Response:  # noqa: ARG002 - a handler's signature
        """Give the icon where browsers look for it if no page tells them."""
        icon = next(asset for name, asset in self._assets.items() if name.endswith(".svg"))
        return Response(icon.content, media_type=icon.media_type)

    async def take_sign_up(self, request: Request) -> Response:
        """Record what a sign-up site reports."""
        try:
            body = await _sign_up_body(request)
            message = webhook.verify(request.headers, body, self._secrets, now=self._now())
            answer, is_new = await run_in_threadpool(self._sign_ups.record, message)
        except SignUpRefusedError as error:
            _log.info("sign-up refused", reason=error.refusal.code)
            return _problem(error)
        if is_new:
            _log.info("sign-up recorded", agreement=answer.agreement)
        return Response(msgspec.json.encode(answer), media_type=JSON)

    async def tell_health(self, request: Request) -> Response:  # noqa: ARG002 - likewise
        """Tell that the server answers."""
        return JSONResponse({"status": "ok"})

    async def tell_unknown(self, request: Request, error: Exception) -> Response:  # noqa: ARG002 - likewise
        """Say that there is nothing at this address."""
        return self._unusable(None, "")

    async def tell_method(self, request: Request, error: Exception) -> Response:
        """Say that this address does not take that method."""
        headers = dict(getattr(error, "headers", None) or {})
        if request.url.path == SIGN_UP_PATH:
            return _problem(SignUpRefusedError(SignUpRefusal.METHOD_NOT_ALLOWED), headers)
        return self._pages.message(_METHOD, headers=headers)

    def tell_unavailable(self, request: Request) -> Response:
        """Say that something does not work here."""
        if request.url.path == SIGN_UP_PATH:
            return _problem(SignUpRefusedError(SignUpRefusal.UNAVAILABLE))
        return self._pages.message(_UNAVAILABLE)

    def _unusable(self, state: LinkState | None, token: str) -> Response:
        record = f"{PATH}{token}{RECORD}" if state is LinkState.ACCEPTED else None
        return self._pages.message(unusable_message(state, self._pages.contact), record)


def _read_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form; raise `ValueError` if it is none, or gives a field twice."""
    pairs = parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=_MOST_FORM_FIELDS) if body else []
    form = dict(pairs)
    if len(form) != len(pairs):
        raise ValueError("a field was given twice")
    return form


async def _sign_up_body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise SignUpRefusedError(SignUpRefusal.UNKNOWN_FORMAT)
    try:
        return await bounded_body(request, webhook.MOST_BYTES)
    except BodyTooLargeError:
        raise SignUpRefusedError(SignUpRefusal.BODY_TOO_LARGE, f"the limit is {webhook.MOST_BYTES:,} bytes") from None
    except BodyIncompleteError:
        raise SignUpRefusedError(SignUpRefusal.INCOMPLETE_BODY) from None


def _problem(error: SignUpRefusedError, headers: Mapping[str, str] | None = None) -> Response:
    problem = error.to_problem()
    return Response(msgspec.json.encode(problem), problem.status, headers, media_type=PROBLEM)
