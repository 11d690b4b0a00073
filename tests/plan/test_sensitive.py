"""The scan of a text: what it finds, through which disguises, and that the words of a plan are left in peace."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import documents
from heliograph.plan.load import load_plan
from heliograph.plan.model import CountsFact, MemberProperty, Plan
from heliograph.plan.sensitive import Sensitive, find_sensitive
from heliograph.plan.sensitive.formats import TOKENS

PLANS: Final = sorted((Path(__file__).parents[2] / "plans").glob("*.yaml"))

FOUND: Final[dict[Sensitive, list[str]]] = {
    Sensitive.PRIVATE_KEY: [
        "-----BEGIN RSA PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "MIIEpAIBAAKCAQEAwJx",
        "MIIEvQIBADANBgkqhki",
        "b3BlbnNzaC1rZXktdjEAAAA",
    ],
    Sensitive.SECRET_TOKEN: [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_11ABCDEFG0abcdefghijkl_abcdefghijkl",
        "glpat-abcdefghij1234567890",
        "xoxb-123456789012-123456789012-abcdefgh",
        "sk_live_abcdefghijklmnopqrstuvwx",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "npm_abcdefghijklmnopqrstuvwxyz0123456789",
        "pypi-AgEIcHlwaS5vcmcCJGFiY2RlZmdo",
        "sgp_0123456789abcdef0123456789abcdef01234567",
        "hvs.CAESIJ1234567890abcdefghijkl",
        "sk-ant-api03-abcdefghijklmnopqrstuvwxyz",
        "token AKIAIOSFODNN7EXAMPLE in a sentence",
    ],
    Sensitive.PASSWORD: ["password=hunter", "P@ssw0rd!2026", "https://joe:s3cret@host/", "Tr0ub4dor&3", "pwd: abcd"],
    Sensitive.LICENCE_KEY: ["ABCDE-12345-FGHIJ-67890-KLMNO", "XK3D-9FQ2-77PL"],
    Sensitive.EMAIL: ["jane.doe@example.com", "Jane <jane@corp.local>", "jane.doe [at] example [dot] com"],
    Sensitive.URL: ["https://git.corp.example/secret", "ssh://git@host/x", "git@host:acme/secret.git", "www.acme.com"],
    Sensitive.IP_ADDRESS: ["192.168.1.7", "10.0.0.1", "203.0.113.9", "2001:db8::ff00:42:8329", "fe80::1"],
    Sensitive.MAC_ADDRESS: ["00:1a:2b:3c:4d:5e", "00-1A-2B-3C-4D-5E", "001a.2b3c.4d5e"],
    Sensitive.HOST: ["git.corp.example.com", "github.com", "build-7.internal", "db01.prod.acme.io"],
    Sensitive.FILE_PATH: ["/" + "home/jane/notes.txt", "C:\\Users\\jane", "~/src/x", "\\\\server\\share"],
    Sensitive.POSTAL_ADDRESS: ["12 Main Street", "221b_baker_street", "Hauptstrasse 5"],
    Sensitive.PAYMENT_CARD: ["4111111111111111", "4111-1111-1111-1111", "378282246310005", "5555.5555.5555.4444"],
    Sensitive.BANK_ACCOUNT: ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32"],
    Sensitive.NATIONAL_ID: ["078-05-1121", "RCCMNL83S18D969H", "AB123456C", "12345678Z"],
    Sensitive.PHONE: [
        "+49 151 12345678",
        "+491511234567",
        "415-555-2671",
        "(415) 555-2671",
        "030 1234567",
        "tel:5550123",
    ],
    Sensitive.LONG_DIGITS: ["1234567", "4915112345678", "user-1234567", "1700000000123", "12-34-56-78"],
    Sensitive.CODE: [
        "SELECT * FROM users",
        "def main():",
        "repo:^acme/secret$ foo",
        "os.getenv('X')",
        r"\bfoo\d+",
        "x = y; // z",
        "if (a == b) {",
        "import os",
        "<script>alert(1)</script>",
        "ps aux | grep secret",
    ],
    Sensitive.PERSON_NAME: ["Jane Doe", "jane.doe", "Dr. Smith", "maria_garcia", "@alice", "JohnSmith"],
    Sensitive.ENCODED_TEXT: ["aGVsbG8gdGhpcyBpcyBwbGFpbg==", "68656c6c6f207468697320697320"],
    Sensitive.HIGH_ENTROPY: [
        "550e8400-e29b-41d4-a716-446655440000",
        "d41d8cd98f00b204e9800998ecf8427e",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzZ8QkLm4Tp",
        "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
        "q7Zp2LxV9sKd4TnB",
    ],
}
PEACEFUL: Final = """
    goToDefinition SearchSubmitted bitbucket_server aws_codecommit c++ c node.js asp.net socket.io python3.11 x86_64
    utf-8 iso-8859-1 windows-1252 sha256 aes-256-gcm us-east-1 en_US zh-Hans-CN v1.2.3 3.11 10.0.19045 2026-10-01
    20261001 gpt-4.1-mini claude-sonnet-4-5-20250929 text-embedding-3-large README.md go.mod package.json travis_ci
    jenkins_ci github_actions password secret token api_key access_token password_reset email ip_address user_name
    mark_done grace_period will_retry CamelCaseVeryLongIdentifierNameHere utf8ToBase64Converter main_street
    sha256ToBase64Encoded street_view road_map select_from from_select update_set true_false null none n_a 100_plus
    10-99 1-5 1000000 0 a A objective-c php7.4 ubuntu-22.04 debian-12 x86_64-unknown-linux-gnu aarch64-apple-darwin
    es2022 h264 mp4 ipv4 ipv6 http2 tls1.3 oauth2 saml2.0 s3.standard 5.3.1 2026.10.15 118.0.5993.117 ssh-ed25519
    ecdsa-sha2-nistp256 jupyter_notebook vs_code us.east.1 first_run day_1 week_52 300-500ms lt_100 gte_1000
    Scala107 System17 close107
""".split()  # noqa: SIM905 - a list of words reads best as words
WORDS: Final = """
    search submit open close find result filter language symbol author date type visibility notebook page view batch
    change insight monitor code navigation definition reference implementation hover commit difference history file
    repository branch merge review request comment approve reject create delete update share export import sign in out
    password reset token key secret access credential user team organisation admin role permission license trial free
    business enterprise small medium large literal regexp structural keyword standard everywhere context content server
    client cloud data center managed premises graph query error warning timeout failed cancelled success partial empty
    first second third last next previous daily weekly monthly yearly light dark system default custom other unknown
    kotlin typescript haskell elixir scala swift ruby rust java python perl lua dart julia ada fortran cobol clojure
    strength lengths rhythms catchphrase knightsbridge latchstring borschts twelfths sixths synchronised
""".split()  # noqa: SIM905 - a list of words reads best as words


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_what_each_kind_stands_for_is_found(kind: Sensitive, text: str) -> None:
    assert find_sensitive(text) is kind


def test_every_kind_has_examples_and_is_explained() -> None:
    assert FOUND.keys() == {*Sensitive}
    rows = [line for line in documents.section("docs/second-wall.md", "Kinds").splitlines() if line.startswith("| `")]
    assert {kind for row in rows for kind in re.findall("`([a-z_]+)`", row.split("|")[1])} == {*Sensitive}


DISGUISES: Final = {
    "full-width letters": "ｊａｎｅ＠ｅｘａｍｐｌｅ．ｃｏｍ",  # noqa: RUF001 - a disguise
    "mathematical letters": "".join(
        chr(0x1D5EE + ord(each) - 97) if each.isalpha() else each for each in "jane@example.com"
    ),
    "circled letters": "ⓙⓐⓝⓔ@ⓔⓧⓐⓜⓟⓛⓔ.ⓒⓞⓜ",
    "Cyrillic letters": "jаnе@ехаmрlе.соm",  # noqa: RUF001 - a disguise
    "accents": "jáńè@éxâmplē.cõm",
    "zero-width characters": "ja\u200bne@exam\u200dple.\u2060com",
    "a soft hyphen": "ja\u00adne@example.com",
    "bidirectional marks": "\u202ejane@example.com\u202c",
    "percent signs": "jane%40example.com",
    "percent signs twice": "jane%2540example.com",
    "HTML's characters": "&#106;ane&commat;example.com",
    "JSON's escapes": r"jane\u0040example.com",
    "base64": "amFuZUBleGFtcGxlLmNvbQ==",
    "base64 without its end": "amFuZUBleGFtcGxlLmNvbQ",
    "base64 twice": "YW1GdVpVQmxlR0Z0Y0d4bExtTnZiUT09",
    "hexadecimal digits": "6a616e65406578616d706c652e636f6d",
    "hexadecimal digits after 0x": "0x6A616E65406578616D706C652E636F6D",
    "base64 of UTF-16": base64.b64encode("jane@example.com".encode("utf-16-le")).decode(),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_an_address_is_found_in_each_disguise(disguise: str) -> None:
    assert find_sensitive(DISGUISES[disguise]) is Sensitive.EMAIL


def test_digits_of_any_script_are_digits() -> None:
    assert find_sensitive("４１１１ １１１１ １１１１ １１１１") is Sensitive.PAYMENT_CARD  # noqa: RUF001 - a disguise
    assert find_sensitive("٤١١١١١١١١١١١١١١١") is Sensitive.PAYMENT_CARD


@pytest.mark.parametrize("word", PEACEFUL)
def test_a_word_that_only_resembles_something_is_left_in_peace(word: str) -> None:
    assert find_sensitive(word) is None


def words_of(plan: Plan) -> set[str]:
    kinds = [*plan.facts.values(), *(kind for event in plan.events.values() for kind in event.properties.values())]
    return {
        *plan.events, *plan.features, *plan.sources, *plan.facts, *plan.property_kinds(),
        *(outcome for event in plan.events.values() for outcome in event.outcomes),
        *(word for kind in kinds if isinstance(kind, MemberProperty | CountsFact) for word in kind.members),
    }  # fmt: skip


@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.name)
def test_no_word_of_a_shipped_plan_is_taken_for_anything(file: Path) -> None:
    assert {word: kind for word in words_of(load_plan(file)) if (kind := find_sensitive(word))} == {}


spelled = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6)


@settings(deadline=None, max_examples=150)
@given(spelled, st.sampled_from(["_", "-", ".", ""]), st.integers(0, 999) | st.none())
def test_ordinary_words_are_never_taken_for_anything(words: list[str], separator: str, number: int | None) -> None:
    is_domain = separator == "." and not {"cloud", "server"}.isdisjoint(words[1:])
    is_common_password = (words[-1], separator) == ("password", "") and number is not None
    if is_domain or is_common_password:
        return
    for parts in (words, [words[0], *map(str.capitalize, words[1:])], [*map(str.capitalize, words)]):
        word = separator.join([*parts, *([] if number is None else [str(number)])])
        assert find_sensitive(word) is None


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: quote(raw) + base64.b64encode(raw).decode()))
def test_any_text_is_looked_at_without_an_error(text: str) -> None:
    assert find_sensitive(text) in (None, *Sensitive)


def test_a_very_long_text_is_looked_at_in_bounded_time_and_up_to_its_bound() -> None:
    assert find_sensitive("jane@example.com " + "x" * 10_000_000) is Sensitive.EMAIL
    for piece in ("a.", "a@", "1 ", "(", "%25", "select ", "A1B2-", "=", "/a", "QUJD", "&amp;", "\\u0041", "a b ", ":"):
        find_sensitive(piece * 20_000)


def test_every_format_of_a_token_is_a_pattern_of_its_own() -> None:
    assert len({*TOKENS.values()}) == len(TOKENS)


def test_whoever_only_records_events_needs_no_library_for_it() -> None:
    program = """
import sys
sys.modules["stdnum"] = None
from heliograph.plan.sensitive import find_sensitive
print(find_sensitive("go_to_definition"), find_sensitive("4111111111111112"), "numpy" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["None", "payment_card", "False"]
