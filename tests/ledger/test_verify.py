"""Verifying an exported ledger: whatever changes in it is found, and the entry named."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heliograph.consent.chain import Head, empty, next_link
from heliograph.event import Verdict
from heliograph.gateway.receipts import ReceiptSigner
from heliograph.ledger.entries import CHAIN, Moved, decode_entry, encode_entry
from heliograph.ledger.export import Exported, ExportError, ledger_lines, read_ledger
from heliograph.ledger.verify import Problem, Verified, verify
from ledgers import KEYS, Book

if TYPE_CHECKING:
    from collections.abc import Callable


def verify_lines(lines: list[bytes], end: bytes = b"\n") -> Verified:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger"
        file.write_bytes(b"\n".join(lines) + end)
        exported: Exported = read_ledger(file)
    verified = verify(exported.links, KEYS)
    verified.problems[:0] = exported.problems
    return verified


_DIGITS = b"0123456789"


def named(verified: Verified) -> set[int]:
    return {problem.number for problem in verified.problems}


@st.composite
def books(draw: st.DrawFn) -> Book:
    book = Book()
    for _ in range(draw(st.integers(1, 5))):
        epoch = draw(st.integers(1, 2))
        events, absent = draw(st.integers(1, 4)), draw(st.integers(0, 2))
        how = draw(st.sampled_from(["delivered", "delivered", "rejected", "twice", "overtaken", "split"]))
        if how == "split":
            book.refuse(book.send(epoch, events + 1, absent))
        if how == "twice":
            book.send(epoch, events, absent, salt="an attempt that was lost")
        if how == "overtaken":  # the vendor holds the first attempt, of which no answer came
            sent = book.send(epoch, events, absent)
            book.send(epoch, events, absent, salt="another attempt")
            book.settle(book.hold(sent))
            continue
        book.deliver(epoch, events, absent, rejected=1 if how == "rejected" else 0)
    return book


@settings(max_examples=30)
@given(books())
def test_a_ledger_as_it_was_written_has_no_fault(book: Book) -> None:
    verified = verify_lines(book.lines())
    assert verified.problems == []
    assert verified.deliveries == verified.signatures == len(book.receipts)


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(books(), st.data())
def test_any_byte_that_changes_is_found_and_its_entry_named(book: Book, data: st.DataObject) -> None:
    lines = book.lines()
    at = data.draw(st.integers(0, len(lines) - 1))
    digits = [place for place, byte in enumerate(lines[at]) if byte in _DIGITS]
    # Mostly a digit for a digit, which leaves JSON that can be read: only the chain can tell then.
    place = data.draw(st.one_of(st.sampled_from(digits), st.integers(0, len(lines[at]) - 1)))
    likely = st.sampled_from(_DIGITS) if place in digits else st.integers(0, 255)
    byte = data.draw(likely.filter(lambda value: value not in (lines[at][place], 10)))
    lines[at] = lines[at][:place] + bytes([byte]) + lines[at][place + 1 :]
    try:
        verified = verify_lines(lines)
    except ExportError:  # the first line does not even say that this is a ledger
        assert at == 0
        return
    assert named(verified) & ({at} if at else {0, len(lines), len(lines) - 1}), verified.problems


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(books(), st.data())
def test_any_entry_that_is_deleted_inserted_swapped_or_cut_is_found_and_named(book: Book, data: st.DataObject) -> None:
    lines = book.lines()
    entries = len(lines) - 1
    at = data.draw(st.integers(1, entries))
    how = data.draw(st.sampled_from(["delete", "insert", "swap", "cut", "truncate"]))
    touched = {at}
    if how == "delete":
        del lines[at]
    elif how == "insert":
        place = data.draw(st.integers(1, entries + 1))
        lines.insert(place, lines[at])
        touched = {at, place}
    elif how == "swap":
        other = data.draw(st.integers(1, entries).filter(lambda number: number != at))
        lines[at], lines[other] = lines[other], lines[at]
        touched = {at, other}
    elif how == "cut":
        lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at]) - 1))]
    else:
        del lines[at:]
    if how == "truncate" and at == 1:
        assert verify_lines(lines).problems == [Problem(0, "the ledger has no entry")]
    else:
        assert named(verify_lines(lines)) & touched


def rechained(book: Book, change: Callable[[list[Any]], None]) -> Verified:
    """Verify a ledger that somebody has changed, with all its digests made anew: only signatures can tell."""
    entries = [decode_entry(link.body) for link in book.ledger.links()]
    changed = copy.copy(entries)
    change(changed)
    links, head = [], empty(CHAIN)
    for entry in changed:
        link = next_link(CHAIN, head, encode_entry(entry))
        links.append(link)
        head = Head(link.number, link.digest)
    return verify_lines(list(ledger_lines(links, head, [])))


def test_a_ledger_that_is_written_anew_in_full_is_betrayed_by_the_receipts() -> None:
    book = Book()
    for _ in range(3):
        book.deliver(1, 3)

    def tell_of_fewer(entries: list[Any]) -> None:
        entries[1] = msgspec.structs.replace(entries[1], events={"goToDefinition": 2}, last=2)

    def leave_out(entries: list[Any]) -> None:
        del entries[1:3]

    def change_a_time(entries: list[Any]) -> None:
        entries[1] = msgspec.structs.replace(entries[1], time=1)

    assert rechained(book, lambda _: None).problems == []
    assert 3 in named(rechained(book, tell_of_fewer))
    assert 3 in named(rechained(book, leave_out))
    assert 3 in named(rechained(book, change_a_time))


@pytest.mark.parametrize("held", [0, 1, 2])
def test_a_receipt_may_be_for_any_attempt_whose_bytes_it_names_and_for_no_others(held: int) -> None:
    book = Book()
    attempts = [book.send(1, 3, 1, salt=salt) for salt in ("first", "second", "third")]
    receipt = book.hold(attempts[held])
    book.settle(receipt)
    assert verify(list(book.ledger.links()), KEYS).problems == []
    attempt = book.send(1, 2)
    book.send(1, 2, salt="second")
    book.settle(book.hold(attempt, digest="0" * 64))
    [problem] = verify(list(book.ledger.links()), KEYS).problems
    assert problem == Problem(book.ledger.head().length, "has a receipt for other bytes than those sent by entry 7")


def test_a_receipt_of_another_key_another_range_or_another_instance_is_named() -> None:
    book = Book()
    book.deliver(1, 2)
    book.signer = ReceiptSigner(Ed25519PrivateKey.generate())
    book.deliver(1, 2)
    assert named(verify_lines(book.lines())) == {5}

    book = Book()
    book.deliver(1, 2)
    book.instance = "acme-2"
    book.deliver(1, 2)
    [problem] = verify_lines(book.lines()).problems
    assert problem == Problem(5, "has a receipt for another instance than those before it")

    book = Book()
    sent = book.send(1, 3)
    book.settle(book.hold(sent, digest="0" * 64))
    [problem] = verify_lines(book.lines()).problems
    assert problem == Problem(3, "has a receipt for other bytes than those sent by entry 2")


def test_a_gap_in_the_numbers_is_named_unless_the_two_ends_had_differed() -> None:
    book = Book()
    book.deliver(1, 2)
    book.next[1] = 6
    book.deliver(1, 2)
    [problem] = verify_lines(book.lines()).problems
    assert problem.number == 5
    assert "the number 3 comes next, and not 6" in problem.why

    book = Book()
    book.deliver(1, 2)
    book.ledger.append(Moved(time=book.time, epoch=1, acknowledged=2, expected=6))
    book.next[1] = 6
    book.deliver(1, 2)
    verified = verify_lines(book.lines())
    assert verified.problems == []
    assert [note.number for note in verified.notes] == [4]


def test_a_receipt_without_a_signature_is_told_and_no_fault() -> None:
    book = Book()
    book.settle(book.hold(book.send(1, 2)), signed=False)
    verified = verify_lines(book.lines())
    assert (verified.problems, [note.number for note in verified.notes]) == ([], [3])


def test_two_bodies_without_an_event_are_told_apart_by_what_they_leave_out() -> None:
    book = Book()
    first = book.send(1, 0, 2)  # is refused; and meanwhile somebody has said no to what it left out
    again = msgspec.structs.replace(first, absent={"PageViewed": {Verdict.NOT_PERMITTED: 2}})
    book.ledger.append_sent(again)
    book.ledger.append_sent(again)  # the answer was lost
    assert book.ledger.head().length == 3
    book.settle(book.hold(again))
    book.deliver(1, 2)
    assert verify_lines(book.lines()).problems == []

    book = Book()
    sent = book.send(1, 0, 2)
    book.settle(book.hold(sent, absent={"PageViewed": {Verdict.NOT_PERMITTED: 2}}))
    [problem] = verify_lines(book.lines()).problems
    assert problem == Problem(3, "counts otherwise than entry 2, which was sent")


def test_kept_bytes_that_were_changed_are_named_by_their_entry() -> None:
    book = Book()
    sent = book.send(1, 2)
    links = list(book.ledger.links())
    assert verify(links, KEYS, [(sent.digest, sent.digest)]).bodies == 1
    [problem] = verify(links, KEYS, [(sent.digest, "0" * 64)]).problems
    assert problem.number == 2


def test_nothing_in_the_database_changes_or_deletes_an_entry() -> None:
    book = Book()
    for statement in ("update ledger set body = ''", "delete from ledger"):
        with pytest.raises(Exception, match="only added to"):
            book.connection.execute(statement)


def test_the_format_of_an_export_stays(golden: Callable[[str, str], None]) -> None:
    book = Book()
    book.refuse(book.send(7, 2, 1))
    book.deliver(7, 2, 1)
    golden("tests/ledger/export.jsonl", b"".join(line + b"\n" for line in book.lines()).decode())
