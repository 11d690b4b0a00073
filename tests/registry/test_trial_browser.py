"""The trial's pages in a real browser: without JavaScript, by keyboard alone, for everybody, at any size."""

from __future__ import annotations

import hashlib
import itertools
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe

from heliograph.registry.store import Registry
from heliograph.registry.trials import TrialLinks
from trial_site import TERMS, TrialSite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, ViewportSize

    from registry.conftest import Clock

PHONE: ViewportSize = {"width": 320, "height": 640}
DESK: ViewportSize = {"width": 1280, "height": 900}
SCHEMES: dict[Literal["light", "dark"], str] = {"light": "rgb(29, 27, 22)", "dark": "rgb(241, 236, 225)"}
"""With the colour of the text."""
MOST_TABS = 40
REFUSALS = "responded with a status of 4"
"""A console tells of each answer that is an error."""


@pytest.fixture
def site(tmp_path: Path, clock: Clock) -> Iterator[TrialSite]:
    site = TrialSite(tmp_path, f"sqlite:///{tmp_path / 'registry.db'}", clock)
    with site.registry() as registry:
        registry.add_account("acme")
    with site.running():
        yield site


@contextmanager
def opened(browser: Browser, *, but: str | None = None, **options: Any) -> Iterator[Page]:
    """A page without JavaScript if not said otherwise. Complaints of its console fail the test, `but` such as these."""
    given: dict[str, Any] = {"ignore_https_errors": True, "java_script_enabled": False, "viewport": DESK}
    context = browser.new_context(**(given | options))
    context.set_default_timeout(30_000)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"{request.url} {request.failure}"))
    try:
        yield page
    finally:
        context.close()
    expected = "ERR_ABORTED" if but is None else f"ERR_ABORTED|{but}"  # what a page still loads when it is left
    assert not [text for text in said if not re.search(expected, text)]


def focused(page: Page) -> str:
    """What has the focus, by its id or its words; without JavaScript, CSS tells."""
    element = page.locator(":focus")
    if not element.count():
        return ""
    return element.get_attribute("id") or " ".join(element.inner_text().split())


def tab_to(page: Page, target: str) -> None:
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if focused(page) == target:
            return
    raise AssertionError(f"Tab does not lead to {target!r}")


def test_a_prospect_reads_accepts_and_is_told_without_javascript(site: TrialSite, browser: Browser) -> None:
    with opened(browser) as page:
        page.goto(site.address + site.create())
        assert page.title() == "Start the trial for acme"
        shown = page.get_by_role("article", name="Text of the Terms").inner_text()
        assert shown.split() == re.sub(r"^#+ ", "", TERMS, flags=re.MULTILINE).split()
        page.get_by_label("I am authorised to accept for acme").check()
        page.get_by_role("button", name="Accept the Terms").click()
        page.wait_for_url("**/accepted")
        assert page.get_by_role("heading", level=1).inner_text() == "The Terms are accepted"
        main = page.get_by_role("main").inner_text()
        for words in ("agreement-1", hashlib.sha256(TERMS.encode()).hexdigest(), "31 October 2026", "agent.level"):
            assert words in main
        page.reload()
        assert page.title() == "The trial for acme: accepted"
        page.get_by_role("link", name="The Terms as you accepted them").click()
        page.wait_for_url("**/terms/*")
        assert page.inner_text("body").split() == TERMS.split()
    [agreement] = site.agreements()
    assert agreement["route"] == "trial_engineer"


def test_the_keyboard_alone_is_enough(site: TrialSite, browser: Browser) -> None:
    with opened(browser) as page:
        page.goto(site.address + site.create())
        page.keyboard.press("Tab")
        assert focused(page) == "Skip to the content"
        tab_to(page, "authorised")
        page.keyboard.press("Space")
        tab_to(page, "Accept the Terms and start the trial")
        page.keyboard.press("Enter")
        page.wait_for_url("**/accepted")
    assert len(site.agreements()) == 1


def test_without_the_box_the_browser_sends_nothing(site: TrialSite, browser: Browser) -> None:
    with opened(browser) as page:
        page.goto(site.address + site.create())
        page.get_by_role("button", name="Accept the Terms").click()
        assert page.locator("#authorised:invalid").count() == 1
        assert page.get_by_role("heading", level=1).inner_text() == "Read the Terms, and start your trial"
    assert site.agreements() == []


def test_going_back_and_accepting_again_records_nothing_more(site: TrialSite, browser: Browser) -> None:
    with opened(browser, but=REFUSALS) as page:
        page.goto(site.address + site.create())
        for _ in range(2):
            page.get_by_label("I am authorised").check()
            page.get_by_role("button", name="Accept the Terms").click()
            page.wait_for_url("**/accepted")
            assert "agreement-1" in page.get_by_role("main").inner_text()
            page.go_back()
            if page.get_by_role("heading", level=1).inner_text() == "This link has been used":
                break
    assert len(site.agreements()) == 1


def test_a_page_of_somebody_else_cannot_accept(site: TrialSite, browser: Browser) -> None:
    address = site.address + site.create()
    fields = f'<input name="terms_digest" value="{hashlib.sha256(TERMS.encode()).hexdigest()}">'
    form = f'<form method="post" action="{address}">{fields}<input name="authorised" value="yes"><button>x</button>'
    with opened(browser, but=REFUSALS) as page:
        page.route("https://evil.example/", lambda route: route.fulfill(content_type="text/html", body=form))
        page.goto("https://evil.example/")
        page.get_by_role("button").click()
        page.wait_for_url(address)
        assert page.get_by_role("heading", level=1).inner_text() == "This did not come from our page"
    assert site.agreements() == []


def test_a_page_of_somebody_else_cannot_show_ours_in_a_frame(site: TrialSite, browser: Browser) -> None:
    frame = f'<iframe src="{site.address + site.create()}"></iframe>'
    with opened(browser, but=site.address) as page:
        page.route("https://evil.example/", lambda route: route.fulfill(content_type="text/html", body=frame))
        page.goto("https://evil.example/")
        assert [each.url for each in page.frames] == ["https://evil.example/", "chrome-error://chromewebdata/"]


def visit_offer(page: Page, site: TrialSite) -> None:
    page.goto(site.address + site.create())


def visit_offer_without_the_box(page: Page, site: TrialSite) -> None:
    page.goto(site.address + site.create())
    page.locator("form").evaluate("form => { form.noValidate = true }")
    page.get_by_role("button", name="Accept the Terms").click()
    page.get_by_role("alert").wait_for()


def visit_changed_terms(page: Page, site: TrialSite) -> None:
    page.goto(site.address + site.create())
    page.locator("input[name=terms_digest]").evaluate("input => { input.value = 'other' }")
    page.get_by_label("I am authorised").check()
    page.get_by_role("button", name="Accept the Terms").click()
    page.get_by_role("alert").wait_for()


def visit_record(page: Page, site: TrialSite) -> None:
    page.goto(site.address + site.create())
    page.get_by_label("I am authorised").check()
    page.get_by_role("button", name="Accept the Terms").click()
    page.wait_for_url("**/accepted")


def visit_used(page: Page, site: TrialSite) -> None:
    visit_record(page, site)
    page.goto(page.url.removesuffix("/accepted"))


def visit_revoked(page: Page, site: TrialSite) -> None:
    path = site.create()
    with Registry.open(site.settings.registry, now=site.now) as registry:
        links = TrialLinks(registry)
        links.revoke(links.all()[-1].id, reason="sent to the wrong customer")
    page.goto(site.address + path)


def visit_unknown(page: Page, site: TrialSite) -> None:
    page.goto(f"{site.address}/trial/unknown")


VISITS = (
    visit_offer,
    visit_offer_without_the_box,
    visit_changed_terms,
    visit_record,
    visit_used,
    visit_revoked,
    visit_unknown,
)


@pytest.mark.parametrize("visit", VISITS, ids=lambda visit: visit.__name__.removeprefix("visit_"))
def test_every_page_is_for_everybody_and_fits(
    visit: Callable[[Page, TrialSite], None], site: TrialSite, browser: Browser
) -> None:
    axe = Axe()
    with opened(browser, but=REFUSALS, java_script_enabled=True) as page:
        visit(page, site)
        for scheme, viewport in itertools.product(SCHEMES, (DESK, PHONE)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(viewport)
            assert page.evaluate("getComputedStyle(document.body).color") == SCHEMES[scheme]
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
            found = axe.run(page, options={})
            assert found.violations_count == 0, found.generate_report()
            assert "color-contrast" in {rule["id"] for rule in found.response["passes"]}


def test_what_can_be_pressed_is_large_enough_for_a_thumb(site: TrialSite, browser: Browser) -> None:
    with opened(browser, viewport=PHONE, has_touch=True) as page:
        visit_offer(page, site)
        for target in (page.get_by_role("button"), page.locator(".check")):
            box = target.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) >= 44


def test_a_page_needs_three_requests_to_this_server_and_no_others(site: TrialSite, browser: Browser) -> None:
    asked: list[str] = []
    with opened(browser) as page:
        page.on("request", lambda request: asked.append(request.url))
        visit_offer(page, site)
        page.wait_for_load_state("networkidle")
    assert len(asked) <= 3
    assert all(url.startswith(site.address) for url in asked)
