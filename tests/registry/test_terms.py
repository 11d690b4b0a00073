"""The Terms: read with care, published under a label for good, and shown to the last word."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.registry.errors import RegistryError
from heliograph.registry.terms import (
    MOST_BYTES,
    Kind,
    Paragraph,
    Terms,
    paragraphs,
    publish,
    published_content,
    read_terms,
    was_published,
)
from heliograph.settings import TrialsSettings

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.registry.store import Registry


def terms_of(content: bytes, version: str = "2026-10") -> Terms:
    return Terms(version=version, digest=hashlib.sha256(content).hexdigest(), content=content)


def settings(file: Path, version: str = "2026-10") -> TrialsSettings:
    return TrialsSettings(terms=str(file), terms_version=version)


LINE = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.sampled_from(
        ["", "- an item", "  goes on", "# A heading", "1. A clause", "(iv) so", "use. The", "    1.2 deep"]
    ),
)


@given(st.lists(LINE))
def test_every_word_of_the_terms_is_shown_in_its_order(lines: list[str]) -> None:
    text = "\n".join(lines)
    words = [
        word
        for line in text.splitlines()
        for index, word in enumerate(line.split())
        if not (index == 0 and len(line.split()) > 1 and set(word) == {"#"} and len(word) <= 6)
    ]
    assert " ".join(each.text for each in paragraphs(text)).split() == words


def test_terms_are_laid_out_as_they_were_meant_at_any_width() -> None:
    text = """\
# Terms

A sentence that an editor
broke in two, for its own
use. The rest goes on.
1. A clause
   that is long.
  - an item
  (iv) another

    2.1 A clause of a clause.
Only words."""
    assert paragraphs(text) == [
        Paragraph(Kind.HEADING, "Terms"),
        Paragraph(Kind.PROSE, "A sentence that an editor broke in two, for its own use. The rest goes on."),
        Paragraph(Kind.ITEM, "1. A clause that is long."),
        Paragraph(Kind.ITEM, "- an item"),
        Paragraph(Kind.ITEM, "(iv) another"),
        Paragraph(Kind.ITEM, "2.1 A clause of a clause. Only words."),
    ]


def test_the_digest_is_that_of_the_files_bytes(tmp_path: Path) -> None:
    file = tmp_path / "terms.md"
    file.write_bytes("\ufeffTerms\r\n".encode())
    terms = read_terms(settings(file))
    assert terms.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert terms.content == file.read_bytes()
    assert terms.text == "Terms\r\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b" \n", "is empty"),
        (b"caf\xe9", "is not UTF-8"),
        (b"x" * (MOST_BYTES + 1), "is larger than"),
        (None, "No such file"),
    ],
)
def test_terms_that_cannot_be_shown_are_refused_together_with_a_missing_label(
    content: bytes | None, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "terms.md"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RegistryError) as caught:
        read_terms(settings(file, version=""))
    assert len(caught.value.problems) == 2
    assert "trials.terms_version is empty" in caught.value.problems[0]
    assert said in caught.value.problems[1]


def test_terms_are_kept_byte_for_byte_and_a_label_is_for_one_text(registry: Registry) -> None:
    first, second = terms_of(b"Terms\r\n"), terms_of(b"Other Terms\n")
    publish(registry, first)
    version = registry.version()
    publish(registry, first)
    assert registry.version() == version
    with pytest.raises(RegistryError, match="label of their own"):
        publish(registry, second)
    assert published_content(registry, second.digest) is None
    publish(registry, terms_of(second.content, "2026-11"))
    publish(registry, terms_of(first.content, "2026-12"))
    assert published_content(registry, first.digest) == first.content
    with registry.transaction() as transaction:
        assert was_published(transaction, version="2026-11", digest=second.digest)
        assert not was_published(transaction, version="2026-10", digest=second.digest)
        assert not was_published(transaction, version="2026", digest=first.digest)
