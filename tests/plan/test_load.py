"""A plan that is good is loaded; one that is not is refused with all its problems, places and remedies."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from heliograph.event import NAME_PATTERN, RESERVED
from heliograph.plan import document
from heliograph.plan.load import PlanError, load_plan, parse_plan
from heliograph.plan.model import MemberProperty, Plan

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = ["plans/code-intelligence.yaml", "examples/commit-history.yaml"]

GOOD = """\
heliograph_plan: 1
name: small
version: 3
description: A small plan.
sources: [web, backend]
features:
  search: Searching.
  reading: Reading.
searches:
  event: SearchSubmitted
  by: pattern_type
  members: [regexp]
events:
  SearchSubmitted:
    description: A search.
    feature: search
    action: search
    question: How many?
    owner: search
    added: 2026-10-01
    expires: never
    properties:
      pattern_type:
        description: How it was understood.
        type: member
        members: [literal, regexp]
      duration_ms:
        description: How long it took.
        type: integer
        maximum: 600_000
  FileViewed:
    description: A file.
    feature: reading
    action: read
    question: How often?
    owner: reading
    added: 2026-10-01
    expires: 2027-06-30
    core: true
    outcomes: {ok: It was shown.}
    properties:
      share:
        description: Read part.
        type: number
        maximum: 1
      own:
        description: Whether it is the user's.
        type: boolean
facts:
  release:
    description: The version.
    type: version
  hosts:
    description: Code hosts by kind.
    type: counts
    members: [github, other]
    maximum: 50
"""


NEW = """\
heliograph_plan: 2
name: small
version: 3
description: A small plan.
sources: [web]
features:
  search: Searching.
suppress:
  expired: We decide in spring.
budget:
  event_bits: 80
retired:
  FileOpened:
    description: A file was opened.
    feature: files
    until: 2026-11-30
    reason: Nobody asked.
facts:
  seats:
    description: Seats.
    type: integer
    maximum: 1000
    precision: 50
events:
  SearchSubmitted:
    description: A search.
    feature: search
    action: search
    question: How many?
    owner: search
    added: 2026-10-01
    expires: never
    rate: 200
    renamed_from: [SearchSent, SearchRun]
    properties:
      duration_ms:
        description: How long it took.
        type: duration
        maximum: 600_000
        precision: 100
      results:
        description: How many were found.
        type: count
        buckets: [0, 1, 10, 100]
      offset:
        description: From where on.
        type: integer
        minimum: -20
        maximum: 80
        precision: 10
      share:
        description: Read part.
        type: number
        maximum: 1
        precision: 0.01
        suppress: {wide: It is a share.}
  SearchStarted:
    description: A search began.
    feature: search
    action: search
    question: How many?
    owner: search
    added: 2026-10-01
    expires: never
    suppress: {near: It is another.}
    deprecated:
      since: 2026-11-01
      reason: It tells nothing.
      use: SearchSubmitted
"""
"""Everything that came with format 2."""


def problems_of(text: str | bytes) -> list[str]:
    content = text.encode() if isinstance(text, str) else text
    with pytest.raises(PlanError) as caught:
        parse_plan(content, file="p.yaml")
    return [str(problem) for problem in caught.value.problems]


def changed(old: str, new: str, text: str = GOOD) -> str:
    assert text.count(old) == 1, f"{old!r} must stand once"
    return text.replace(old, new)


@pytest.mark.parametrize("path", SHIPPED)
def test_shipped_plans_load(path: str) -> None:
    plan = load_plan(REPOSITORY / path)
    assert plan.events
    assert len(plan.digest()) == 64


def test_the_code_intelligence_plan_covers_the_product() -> None:
    plan = load_plan(REPOSITORY / SHIPPED[0])
    assert {"goToDefinition", "SearchSubmitted", "SearchNotebookPageViewed"} <= set(plan.events)
    assert len(plan.events) >= 43
    assert set(plan.sources) == {"web", "backend", "ide", "api", "cli"}
    passive = {name for name, event in plan.events.items() if not event.active}
    assert {"SignedIn", "SignedOut", "PasswordPageViewed"} <= passive
    for name, event in plan.events.items():
        assert re.search(r"\([1-5]\)", event.question), f"{name}: its question names none of the five"


def test_a_plan_holds_what_its_file_says() -> None:
    plan = parse_plan(GOOD.encode(), file="p.yaml")
    assert plan.label == "small@3"
    pattern = plan.events["SearchSubmitted"].properties["pattern_type"]
    assert pattern == MemberProperty(description="How it was understood.", members=("literal", "regexp"))
    viewed = plan.events["FileViewed"]
    assert (str(viewed.expires), viewed.core, viewed.active) == ("2027-06-30", True, True)
    assert plan.events["SearchSubmitted"].outcomes == {"ok": "It worked."}
    assert plan.searches is not None
    assert plan.searches.members == ("regexp",)


def test_an_expiry_in_the_past_is_no_problem_of_loading() -> None:
    assert parse_plan(changed("2027-06-30", "2026-10-02").encode(), file="p.yaml")


MISTAKES: dict[str, tuple[str, str]] = {
    "unknown field": ("    core: true", "    cor: true"),
    "unknown field far from any": ("    core: true", "    zzz: true"),
    "misspelt required field": ("    feature: reading", "    feautre: reading"),
    "unknown field of a property": (
        "        maximum: 600_000",
        "        maximum: 600_000\n        minimun: 1",
    ),
    "missing field": ("    question: How often?\n", ""),
    "missing type": ("        type: boolean\n", ""),
    "free text": ("type: boolean", "type: string"),
    "misspelt type": ("type: boolean", "type: bolean"),
    "type is a list": ("type: boolean", "type: [boolean]"),
    "wrong type": ("version: 3", "version: three"),
    "number for text": ("action: read", "action: 12"),
    "YAML's own truth value among members": ("[literal, regexp]", "[literal, regexp, off]"),
    "nothing where text belongs": ("action: read", "action:"),
    "octal": ("600_000", "0777"),
    "fraction": ("600_000", "1.5"),
    "minutes": ("600_000", "10:00"),
    "thousands of digits": ("600_000", "9" * 5000),
    "list for a mapping": ("outcomes: {ok: It was shown.}", "outcomes: [ok]"),
    "text for a list": ("[web, backend]", "web"),
    "mapping for text": ("action: read", "action: {a: b}"),
    "unknown format version": ("heliograph_plan: 1", "heliograph_plan: 3"),
    "class above usage": ("    core: true", "    class: personal"),
    "day that is none": ("2027-06-30", "2027-02-30"),
    "expired before it was added": ("2027-06-30", "2026-10-01"),
    "key that is a truth value": ("  reading: Reading.", "  on: Reading."),
    "key that is a list": ("  reading: Reading.", "  [reading]: Reading."),
    "duplicate key": ("    core: true", "    action: look"),
    "duplicate event": ("  FileViewed:", "  SearchSubmitted:"),
    "event's name": ("  FileViewed:", "  file-viewed:"),
    "event's name too long": ("  FileViewed:", f"  {'F' * 65}:"),
    "case alone": ("  FileViewed:", "  searchSubmitted:"),
    "property's name": ("      own:", "      isOwn:"),
    "reserved name": ("      own:", "      user_id:"),
    "one name, two kinds": ("      own:", "      duration_ms:"),
    "no members": ("members: [literal, regexp]", "members: []"),
    "member twice": ("[literal, regexp]", "[literal, regexp, literal]"),
    "ill-formed member": ("[literal, regexp]", "[literal, regexp, two words]"),
    "too many members": (
        "[literal, regexp]",
        f"[regexp, {', '.join(f'm{number}' for number in range(200))}]",
    ),
    "bounds the wrong way": ("maximum: 600_000", "maximum: 1\n        minimum: 2"),
    "default minimum": ("maximum: 600_000", "maximum: -1"),
    "too large an integer": ("600_000", "9007199254740993"),
    "too small an integer": ("maximum: 600_000", "maximum: 1\n        minimum: -9007199254740993"),
    "not a number": ("maximum: 1\n", "maximum: .nan\n"),
    "infinite": ("maximum: 1\n", "maximum: .inf\n"),
    "a float that overflows": ("maximum: 1\n", f"maximum: {'9' * 400}\n"),
    "unknown feature": ("feature: reading", "feature: serach"),
    "unused feature": ("feature: reading", "feature: search"),
    "feature's key": ("  reading: Reading.", "  Reading: Reading."),
    "outcome": ("{ok: It was shown.}", "{Not-Found: It was not.}"),
    "no outcome": ("{ok: It was shown.}", "{}"),
    "source": ("[web, backend]", "[web, back end]"),
    "source twice": ("[web, backend]", "[web, web]"),
    "no source": ("[web, backend]", "[]"),
    "search's unknown event": ("event: SearchSubmitted", "event: SearchSubmited"),
    "search's unknown property": ("by: pattern_type", "by: patterns"),
    "search's property without members": ("by: pattern_type", "by: duration_ms"),
    "search's unknown member": ("members: [regexp]", "members: [regex]"),
    "search's member twice": ("members: [regexp]", "members: [regexp, regexp]"),
    "plan's name": ("name: small", "name: Small Plan"),
    "plan's version": ("version: 3", "version: 0"),
    "blank text": ("question: How often?", "question: ' '"),
    "blank feature": ("  reading: Reading.", "  reading: ''"),
    "a person as owner": ("owner: reading", "owner: jo@example.org"),
    "fact's name": ("  release:", "  Release:"),
    "free text as a fact": ("type: version", "type: text"),
    "a fact's member twice": ("[github, other]", "[github, github]"),
    "a fact without members": ("[github, other]", "[]"),
    "a fact's bound below none": ("maximum: 50", "maximum: -1"),
    "a fact's missing bound": ("    maximum: 50\n", ""),
    "blank fact": ("description: The version.", "description: ''"),
    "alias": ("question: How often?", "question: *q"),
    "anchor": ("question: How often?", "question: &q How often?"),
    "tag": ("version: 3", "version: !!python/object/apply:os.system [id]"),
    "control character": ("question: How often?", 'question: "How \\e[31m?"'),
    "text that turns round": ("question: How often?", 'question: "How \\u202e?"'),
    "tab": ("    core: true", "	core: true"),
    "open quote": ("question: How often?", "question: 'How often?"),
    "two documents": ("events:", "---\nevents:"),
}
"""What is exchanged in `GOOD`, and for what."""


MISTAKES_OF_2: dict[str, tuple[str, str]] = {
    "format 1 with what came with 2": ("heliograph_plan: 2", "heliograph_plan: 1"),
    "a duration's name": ("      duration_ms:", "      duration:"),
    "a duration without a bound": ("        maximum: 600_000\n", ""),
    "a duration's bound below one": ("maximum: 600_000", "maximum: 0"),
    "too long a duration": ("maximum: 600_000", "maximum: 9007199254740993"),
    "a duration's precision below one": ("precision: 100", "precision: 0"),
    "a duration's precision above its bound": ("precision: 100", "precision: 600_001"),
    "a duration's bound between two multiples": ("maximum: 600_000", "maximum: 600_050"),
    "a duration with a minimum": ("maximum: 600_000", "maximum: 600_000\n        minimum: 1"),
    "an integer's precision below one": ("precision: 10\n", "precision: -10\n"),
    "an integer's precision wider than its range": ("precision: 10\n", "precision: 101\n"),
    "an integer's minimum between two multiples": ("minimum: -20", "minimum: -25"),
    "an integer's maximum between two multiples": ("maximum: 80", "maximum: 81"),
    "a fraction as an integer's precision": ("precision: 10\n", "precision: 0.5\n"),
    "a number's precision that is no power of ten": ("precision: 0.01", "precision: 0.05"),
    "a number's precision above one": ("precision: 0.01", "precision: 10"),
    "a number's precision that is none": ("precision: 0.01", "precision: .nan"),
    "too fine a precision": ("precision: 0.01", "precision: 0.0000001"),
    "a number's bound between two steps": ("maximum: 1\n", "maximum: 1.005\n"),
    "a number's bound that is not exact": ("maximum: 1\n", "maximum: 1.0e+14\n"),
    "one bucket": ("[0, 1, 10, 100]", "[0]"),
    "no buckets": ("[0, 1, 10, 100]", "[]"),
    "too many buckets": ("[0, 1, 10, 100]", str(list(range(41)))),
    "buckets that fall": ("[0, 1, 10, 100]", "[0, 10, 5, 100]"),
    "a bucket twice": ("[0, 1, 10, 100]", "[0, 1, 1, 100]"),
    "a bucket below zero": ("[0, 1, 10, 100]", "[-1, 1, 10, 100]"),
    "too large a bucket": ("[0, 1, 10, 100]", "[0, 9007199254740993]"),
    "a bucket that is no whole number": ("[0, 1, 10, 100]", "[0, 1.5]"),
    "a fact's bound between two multiples": ("maximum: 1000", "maximum: 1010"),
    "rate of none": ("rate: 200", "rate: 0"),
    "rate beyond belief": ("rate: 200", "rate: 1000001"),
    "budget of none": ("event_bits: 80", "event_bits: 0"),
    "budget without end": ("event_bits: 80", "event_bits: .inf"),
    "a reason that is blank": ("near: It is another.", "near: ' '"),
    "a property's reason that is blank": ("wide: It is a share.", "wide: ''"),
    "a plan's reason that is blank": ("expired: We decide in spring.", "expired: ''"),
    "deprecated for no reason": ("reason: It tells nothing.", "reason: ''"),
    "deprecated before it was added": ("since: 2026-11-01", "since: 2026-09-01"),
    "deprecated for an unknown event": ("use: SearchSubmitted", "use: SearchSubmited"),
    "deprecated for itself": ("use: SearchSubmitted", "use: SearchStarted"),
    "an earlier name": ("[SearchSent, SearchRun]", "[search sent]"),
    "an earlier name twice": ("[SearchSent, SearchRun]", "[SearchSent, searchSent]"),
    "an earlier name of an event of today": ("[SearchSent, SearchRun]", "[searchStarted]"),
    "an earlier name of a retired event": ("[SearchSent, SearchRun]", "[fileOpened]"),
    "too many earlier names": ("[SearchSent, SearchRun]", str([f"E{number}" for number in range(21)])),
    "a retired event's name": ("  FileOpened:", "  file opened:"),
    "a retired event of today": ("  FileOpened:", "  searchSubmitted:"),
    "a retired event's feature": ("feature: files", "feature: Files"),
    "retired for no reason": ("reason: Nobody asked.", "reason: ''"),
    "retired without a day": ("    until: 2026-11-30\n", ""),
}
"""What is exchanged in `NEW`, and for what."""


def test_what_came_with_format_2_is_read() -> None:
    plan = parse_plan(NEW.encode(), file="p.yaml")
    assert plan.events["SearchSubmitted"].renamed_from == ("SearchSent", "SearchRun")
    assert plan.retired["FileOpened"].feature == "files"


def test_each_mistake_of_format_2_is_reported_once_with_place_text_and_remedy(
    golden: Callable[[str, str], None],
) -> None:
    reports = []
    for name, (old, new) in MISTAKES_OF_2.items():
        problems = problems_of(changed(old, new, NEW))
        assert len(problems) == 1, problems
        assert re.fullmatch(r"p\.yaml:\d+:\d+: .+[.?]", problems[0]), problems
        reports.append("\n".join([f"# {name}", *problems]))
    golden("tests/plan/problems-2.txt", "\n\n".join(reports) + "\n")


@pytest.mark.parametrize(
    "use",
    [
        "rate: 5",
        "renamed_from: [Old]",
        "suppress: {near: It is another.}",
        "deprecated: {since: 2026-10-02, reason: It tells nothing.}",
        "properties: {a_ms: {description: A., type: duration, maximum: 5}}",
        "properties: {a: {description: A., type: count, buckets: [0, 1]}}",
        "properties: {a: {description: A., type: integer, maximum: 4, precision: 2}}",
        "properties: {a: {description: A., type: number, maximum: 4, precision: 1}}",
        "properties: {a: {description: A., type: boolean, suppress: {near: It is another.}}}",
    ],
)
def test_whatever_came_with_format_2_asks_for_it(use: str) -> None:
    event = GOOD[GOOD.index("  FileViewed:") : GOOD.index("    core: true")].replace("FileViewed", "FileOpened")
    text = changed("facts:\n", f"{event}    {use}\nfacts:\n")
    assert len(problems := problems_of(text)) == 1
    assert "which came with format 2, is used (line" in problems[0]
    assert parse_plan(text.replace("heliograph_plan: 1", "heliograph_plan: 2").encode(), file="p.yaml")


def test_each_mistake_is_reported_with_place_text_and_remedy(golden: Callable[[str, str], None]) -> None:
    reports = []
    for name, (old, new) in MISTAKES.items():
        problems = problems_of(changed(old, new))
        assert all(re.fullmatch(r"p\.yaml(:\d+:\d+)?: .+[.?]", problem) for problem in problems), problems
        reports.append("\n".join([f"# {name}", *problems]))
    golden("tests/plan/problems.txt", "\n\n".join(reports) + "\n")


WITH_CONSEQUENCES = {"no members", "key that is a truth value", "unknown feature", "feature's key"}
"""Mistakes with a true consequence elsewhere: a feature that is now without an event, for instance."""


@pytest.mark.parametrize("case", sorted(MISTAKES.keys() - WITH_CONSEQUENCES))
def test_a_mistake_is_reported_once_and_without_echoes(case: str) -> None:
    problems = problems_of(changed(*MISTAKES[case]))
    assert len(problems) == 1, problems


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_every_reserved_name_is_refused(name: str) -> None:
    assert any("has already" in problem for problem in problems_of(changed("      own:", f"      {name}:")))


def test_all_problems_are_reported_at_once_in_the_order_of_the_file() -> None:
    text = GOOD
    for old, new in [
        ("version: 3", "version: three"),
        ("[literal, regexp]", "[literal, no]"),
        ("600_000", "-5"),
        ("    question: How often?\n", ""),
        ("    core: true", "    cor: true"),
        ("type: boolean", "type: text"),
        ("  FileViewed:", "  file_viewed:"),
    ]:
        text = changed(old, new, text)
    problems = problems_of(text)
    assert [int(problem.split(":")[1]) for problem in problems] == [3, 26, 30, 31, 31, 38, 47]


def test_a_part_that_cannot_be_read_raises_no_echoes() -> None:
    for old, new in [
        ("  reading: Reading.", "  reading: 1"),
        ("  FileViewed:", "  FileViewed: 1\n  X:"),
        ("features:\n  search: Searching.\n  reading: Reading.", "features: none"),
        ("type: member\n        members: [literal, regexp]", "type: list"),
        ("members: [literal, regexp]", "members: regexp"),
        ("maximum: 600_000", "maximum: 1\n        minimum: two"),
        ("added: 2026-10-01\n    expires: 2027-06-30", "added: soon\n    expires: 2027-06-30"),
    ]:
        assert len(problems_of(changed(old, new))) == 1


def test_sizes_are_bounded() -> None:
    event = GOOD[GOOD.index("  FileViewed:") :]
    head, property_text = (
        GOOD[: GOOD.index("  FileViewed:")],
        "      p{}: {{description: D., type: boolean}}\n",
    )

    def event_with(name: str, properties: range) -> str:
        shell = event[: event.index("      share:")].replace("FileViewed", name)
        return shell + "".join(property_text.format(number) for number in properties)

    assert parse_plan((head + event_with("FileViewed", range(40))).encode(), file="p.yaml")
    assert any("41 properties" in problem for problem in problems_of(head + event_with("E", range(41))))
    many = "".join(event_with(f"E{number}", range(number * 40, number * 40 + 40)) for number in range(10))
    assert any("402 names of properties" in problem for problem in problems_of(head + many))
    thousand = "".join(event_with(f"E{number}", range(1)) for number in range(1_000))
    assert any("1,001 events" in problem for problem in problems_of(head + thousand))
    facts = "".join(f"  f{number}: {{description: F., type: version}}\n" for number in range(39))
    assert any("41 facts" in problem for problem in problems_of(changed("facts:\n", f"facts:\n{facts}")))
    features = "".join(f"  f{number}: F.\n" for number in range(200))
    assert any("202 features" in p for p in problems_of(changed("features:\n", f"features:\n{features}")))


def refusal_of(path: Path | str) -> str:
    with pytest.raises(PlanError) as caught:
        load_plan(path)
    return str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path / "none.yaml").endswith(
        "none.yaml: cannot be read: No such file or directory. Give the path of a tracking plan, a YAML file."
    )
    assert "the folder holds no file that ends in .yaml or .yml" in refusal_of(tmp_path)
    assert "null byte" in refusal_of("a\0b")
    assert "File name too long" in refusal_of("x" * 5_000)
    if os.geteuid() != 0:
        (closed := tmp_path / "closed.yaml").touch(mode=0)
        assert "Permission denied" in refusal_of(closed)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "p.yaml:1:1: the file holds nothing. Begin with"),
        (b"# only a comment\n", "the file holds nothing"),
        (b"just words", "`just words` stands where a mapping is expected"),
        (b"- a\n- b\n", "a list stands where a mapping is expected"),
        (b"~", "`~`, nothing to YAML, stands where a mapping is expected"),
        (b"name: caf\xe9\n", "p.yaml:1:10: the byte 0xe9 is not UTF-8. Save the file as UTF-8 text."),
        (GOOD.encode("utf-16"), "the byte 0xff is not UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "p.yaml: not YAML: "),
        (b"\x00" * 100, "not YAML: "),
        (b"name: \xef\xbf\xbf", "not YAML: "),
        (b"[" * 100_000, "nested more than 16 deep"),
        (b"- " * 100_000, "nested more than 16 deep"),
        (b"{a: " * 100_000, "nested more than 16 deep"),
        (b"%YAML " + b"9" * 5_000 + b".1\n---\na: b", "not YAML: "),
        (b'name: "\\UFFFFFFFF"', "not YAML: "),
        (b"a: &x [*x]", "`&x` is an anchor"),
        (b"a: !!binary aGk=", "`tag:yaml.org,2002:binary` is a tag"),
        (b"<<: {name: x}", "`<<`, a merge to YAML, is not text as it stands"),
        (b"=: x", "`=`, a default to YAML, is not text as it stands"),
        (b"? {a: b}\n: c", "a mapping stands as a key"),
    ],
)
@pytest.mark.parametrize("loader", [yaml.SafeLoader, document.Loader], ids=["python", "libyaml"])
def test_what_is_no_plan_is_refused_by_either_parser(
    content: bytes, said: str, loader: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "Loader", loader)
    problems = problems_of(content)
    assert any(said in problem for problem in problems), problems


def test_both_parsers_read_the_same_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [load_plan(REPOSITORY / path) for path in SHIPPED]
    monkeypatch.setattr(document, "Loader", yaml.SafeLoader)
    assert [load_plan(REPOSITORY / path) for path in SHIPPED] == plans


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_bytes(GOOD.encode() + b"#" * (1 << 20))
    assert "is larger than 1,048,576 bytes" in refusal_of(tmp_path / "large.yaml")
    assert "is larger than" in refusal_of("/dev/zero")


def test_a_byte_order_mark_and_windows_lines_do_no_harm() -> None:
    expected = parse_plan(GOOD.encode(), file="p.yaml")
    assert parse_plan(GOOD.replace("\n", "\r\n").encode("utf-8-sig"), file="p.yaml") == expected


def outcome_of(content: bytes) -> Plan | list[str]:
    """Return the plan, or its problems; any other exception is the failure that the fuzzing looks for."""
    try:
        return parse_plan(content, file="p.yaml")
    except PlanError as error:
        said = [str(problem) for problem in error.problems]
    assert said
    assert all(text.isprintable() for text in said), said
    return said


PIECES = st.sampled_from(
    [
        b"[",
        b"]",
        b"{",
        b"}",
        b": ",
        b"- ",
        b"\n",
        b"\t",
        b"  ",
        b"&a ",
        b"*a",
        b"!!str ",
        b"? ",
        b"|\n",
        b">\n",
    ]
    + [
        b"'",
        b'"',
        b"#",
        b"%",
        b"@",
        b"\x00",
        b"\xff",
        b"\xe2\x80\xae",
        b"~",
        b"<<: ",
        b"---\n",
        b"...\n",
        b".nan",
    ]
    + [b"1e400", b"-9007199254740993", b"0x1F", b"yes", b"null", b"2026-02-30", b"1:30", b"9" * 400, b"\\"]
    + [word.encode() for word in ("type: integer\n", "members: []", "events", "user", "minimum: .inf\n", "core")]
)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """Draw a good plan with a few pieces cut, doubled, exchanged or put in."""
    content = draw(st.sampled_from([GOOD.encode(), (REPOSITORY / SHIPPED[1]).read_bytes()]))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 60)))
        piece = draw(st.one_of(PIECES, st.binary(max_size=4), st.just(content[start:end] * 2)))
        content = content[:start] + piece + content[end:]
    return content


@given(mutations())
def test_no_mutation_of_a_plan_raises_anything_else(content: bytes) -> None:
    outcome_of(content)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "ignore"))))
@example(b"\xef\xbb\xbf")
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    outcome_of(content)


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(),
        st.sampled_from(["ok", "search", "member", "integer", "usage", "SearchSubmitted", "pattern_type"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=6), st.sampled_from(["type", "members", "maximum"])), inner, max_size=3
        ),
    ),
    max_leaves=6,
)  # fmt: skip


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all parts of a YAML tree."""
    below = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else []
    return [path, *(place for key, value in below for place in places(value, (*path, key)))]


@given(st.data())
def test_any_value_in_any_place_is_taken_or_refused_with_problems(data: st.DataObject) -> None:
    tree = yaml.safe_load(GOOD)
    *above, last = data.draw(st.sampled_from(places(tree)[1:]))
    parent = tree
    for key in above:
        parent = parent[key]
    parent[last] = data.draw(VALUES)
    outcome = outcome_of(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))
    if isinstance(outcome, Plan):
        assert all(NAME_PATTERN.fullmatch(event) for event in outcome.events)
        assert outcome.digest()
