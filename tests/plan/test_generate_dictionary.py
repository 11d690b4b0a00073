"""The dictionary, as a real browser and a real Markdown parser read it, whatever the plan's texts are."""

from __future__ import annotations

import itertools
import re
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given
from markdown_it import MarkdownIt

import documents
from generating import ANY_PLAN, AWKWARD, EVERYTHING, SHIPPED, made, plans
from heliograph.plan.generate.dictionary_html import dictionary_html
from heliograph.plan.generate.dictionary_markdown import dictionary_markdown, escape
from heliograph.plan.generate.words import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, ViewportSize

    from heliograph.plan.model import Plan

DESK: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 320, "height": 640}
SCHEMES: dict[Literal["light", "dark"], str] = {"light": "rgb(29, 27, 22)", "dark": "rgb(241, 236, 225)"}
"""With the colour of the text."""
VOID = {"meta", "input"}
ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "script",
        "body",
        "header",
        "nav",
        "main",
        "footer",
        "search",
        "section",
    ),
    *("a", "article", "code", "dd", "div", "dl", "dt", "h1", "h2", "h3", "input", "label", "li", "p", "span", "ul"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
MARKDOWN = MarkdownIt("commonmark").enable("table")


def texts(plan: Plan) -> list[str]:
    """Every text that people wrote in the plan, as it is to be read."""
    said = [plan.description, *plan.features.values(), *(fact.description for fact in plan.facts.values())]
    for event in plan.events.values():
        said += [event.description, event.action, event.question, event.owner, *event.outcomes.values()]
        said += [definition.description for definition in event.properties.values()]
        said += [event.deprecated.reason] if event.deprecated else []
    for retired in plan.retired.values():
        said += [retired.description, retired.reason]
    return [one_line(text) for text in said]


@contextmanager
def opened(browser: Browser, plan: Plan, folder: Path, **options: Any) -> Iterator[Page]:
    """The page, from a file, as nobody serves it. Complaints of the console and requests fail the test."""
    file = folder / "dictionary.html"
    file.write_text(made(dictionary_html, plan), encoding="utf-8")
    context = browser.new_context(**{"viewport": DESK, **options})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url != file.as_uri() else None)
    try:
        page.goto(file.as_uri())
        yield page
    finally:
        context.close()
    assert not said


def visible(page: Page) -> list[str]:
    return [card.get_attribute("id") or "" for card in page.locator("article:visible").all()]


def test_a_search_finds_events_by_what_is_said_of_them(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, SHIPPED, tmp_path) as page:
        assert visible(page) == list(SHIPPED.events)
        page.keyboard.press("/")
        page.keyboard.type("search SUBMITTED regexp")
        assert visible(page) == ["SearchSubmitted"]
        assert page.get_by_role("status").inner_text() == f"1 of {len(SHIPPED.events) + 3} found"
        assert page.locator("nav a:visible").all_inner_texts() == ["search\n1"]
        page.get_by_label("Search").fill("go to definition")
        assert "goToDefinition" in visible(page)
        page.get_by_label("Search").fill("zebra")
        assert visible(page) == []
        page.keyboard.press("Escape")
        assert visible(page) == list(SHIPPED.events)
        assert page.get_by_role("status").inner_text() == ""


def test_a_link_leads_to_its_event_also_when_a_search_has_hidden_it(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, SHIPPED, tmp_path) as page:
        page.get_by_label("Search").fill("goToDefinition")
        page.evaluate("location.hash = 'SearchResultClicked'")
        page.wait_for_function("document.getElementById('words').value === ''")
        assert page.locator("#SearchResultClicked").is_visible()


def test_without_javascript_the_page_is_whole_and_offers_no_search(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, EVERYTHING, tmp_path, java_script_enabled=False) as page:
        assert not page.get_by_label("Search").is_visible()
        assert visible(page) == [*EVERYTHING.events, *EVERYTHING.retired]
        page.get_by_role("link", name="pages").click()
        assert page.url.endswith("#feature-pages")
        shown = page.inner_text("body")
        assert not [text for text in texts(EVERYTHING) if text not in shown]


@pytest.mark.parametrize("plan", [EVERYTHING, SHIPPED], ids=lambda plan: plan.label)
def test_the_page_is_for_everybody_and_fits(plan: Plan, browser: Browser, tmp_path: Path) -> None:
    with opened(browser, plan, tmp_path, bypass_csp=True) as page:  # the checker is a script of its own
        for scheme, viewport in itertools.product(SCHEMES, (DESK, PHONE)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(viewport)
            assert page.evaluate("getComputedStyle(document.body).color") == SCHEMES[scheme]
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
            if plan is EVERYTHING and (scheme == "light") is (
                viewport is DESK
            ):  # each of them once, as it takes seconds
                found = Axe().run(page, options={})
                assert found.violations_count == 0, found.generate_report()
                assert "color-contrast" in {rule["id"] for rule in found.response["passes"]}


def test_a_script_that_somebody_smuggled_in_would_not_run(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "dictionary.html"
    text = dictionary_html(EVERYTHING)
    file.write_text(text.replace("</main>", "<script>document.title = 'run'</script></main>"), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    assert page.title() == "Dictionary of everything"
    assert page.get_by_label("Search").is_visible()
    page.close()


class Read(HTMLParser):
    """The elements of a page, which have to be closed in order, and its texts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@given(plan=plans())
@ANY_PLAN
def test_whatever_the_plan_the_page_holds_its_texts_and_nothing_that_they_would_add(plan: Plan) -> None:
    page = Read()
    page.feed(made(dictionary_html, plan))
    page.close()
    assert page.open == []
    assert page.elements.count("script") == page.elements.count("style") == 1
    assert set(page.elements) <= ELEMENTS
    assert len(set(page.ids)) == len(page.ids)
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert not [text for text in texts(plan) if not any(text in part for part in page.text)]


@given(plan=plans())
@ANY_PLAN
def test_whatever_the_plan_the_markdown_holds_its_texts_and_nothing_that_they_would_add(plan: Plan) -> None:
    text = made(dictionary_markdown, plan)
    blocks = MARKDOWN.parse(text)
    inline = [token for block in blocks if block.type == "inline" for token in block.children or ()]
    kinds = {token.type for token in (*blocks, *inline)}
    assert [block.content for block in blocks if block.type == "html_block"] == [text.splitlines()[0] + "\n"]
    assert not kinds & {
        "html_inline",
        "image",
        "fence",
        "code_block",
        "blockquote_open",
        "ordered_list_open",
        "hr",
        "hardbreak",
    }
    headings = [blocks[number + 1].content for number, block in enumerate(blocks) if block.type == "heading_open"]
    assert [heading for heading in headings if heading in plan.events] == [
        name for feature in plan.features for name, event in plan.events.items() if event.feature == feature
    ]
    assert len(headings) == 3 + len(plan.features) + len(plan.events) + bool(plan.facts) + bool(plan.retired)
    links = {token.attrs["href"] for token in inline if token.type == "link_open"}
    assert links == {f"#{name.lower()}" for name in plan.events} | {f"#feature-{key}" for key in plan.features}
    said = ["".join(token.content for token in block.children or ()) for block in blocks if block.type == "inline"]
    assert not [text for text in texts(plan) if not any(text in part for part in said)]


@pytest.mark.parametrize("piece", AWKWARD)
def test_a_text_is_the_same_after_markdown(piece: str) -> None:
    for text in (piece, f"{piece}x", f"x {piece} y", f"{piece}{piece}"):
        blocks = MARKDOWN.parse(f"{escape(text)}\n")
        if one_line(text):
            assert [block.type for block in blocks] == ["paragraph_open", "inline", "paragraph_close"]
            assert "".join(token.content for token in blocks[1].children or ()) == one_line(text)


def test_the_page_of_the_docs_is_the_dictionary_of_the_shipped_plan(golden: Callable[[str, str], None]) -> None:
    golden("docs/dictionary.md", made(dictionary_markdown, SHIPPED))


def test_its_anchors_are_those_of_a_forge() -> None:
    text = made(dictionary_markdown, EVERYTHING)
    wanted = {link.removeprefix("#") for link in documents.links(text)}
    assert wanted <= documents.anchors(text)
    assert not re.search(r"^#+ .*`", text, re.MULTILINE)
