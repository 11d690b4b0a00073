"""The hash chain: whatever is changed, removed, added or put elsewhere is found, and named."""

from __future__ import annotations

import hashlib
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from heliograph.consent.chain import Head, Link, empty, find_faults, genesis, link_digest, next_link

bodies = st.lists(st.binary(max_size=40), min_size=1, max_size=6)
CHAIN = "acme"


def chained(bodies: list[bytes], chain: str = CHAIN) -> tuple[list[Link], Head]:
    links, head = [], empty(chain)
    for body in bodies:
        link = next_link(chain, head, body)
        links.append(link)
        head = Head(link.number, link.digest)
    return links, head


def test_a_digest_is_what_the_page_says() -> None:
    beginning = hashlib.sha256(b"heliograph chain 1\nacme").hexdigest()
    assert genesis("acme") == beginning
    said = hashlib.sha256(f"{beginning}\nacme\n1\n".encode() + b'{"a":1}').hexdigest()
    assert link_digest(beginning, "acme", 1, b'{"a":1}') == said


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_a_chain_as_recorded_has_no_fault(some: list[bytes]) -> None:
    links, head = chained(some)
    assert find_faults(CHAIN, links, head) == []


@given(bodies, st.data())
def test_any_single_bit_that_changes_in_any_record_is_found_and_the_record_named(
    some: list[bytes], data: st.DataObject
) -> None:
    links, head = chained(some)
    place = data.draw(st.integers(0, len(links) - 1))
    link = links[place]
    field = data.draw(st.sampled_from(["previous", "digest", *(["body"] if link.body else [])]))
    stored: bytes = getattr(link, field) if field == "body" else getattr(link, field).encode()
    bit = data.draw(st.integers(0, len(stored) * 8 - 1))
    changed = bytearray(stored)
    changed[bit // 8] ^= 1 << bit % 8
    value: Any = bytes(changed) if field == "body" else changed.decode("utf-8", "surrogateescape")
    links[place] = link._replace(**{field: value})
    assert link.number in {fault.number for fault in find_faults(CHAIN, links, head)}


@given(bodies, st.data())
def test_a_number_that_changes_is_found(some: list[bytes], data: st.DataObject) -> None:
    links, head = chained(some)
    place = data.draw(st.integers(0, len(links) - 1))
    number = data.draw(st.integers(-(1 << 63), (1 << 63) - 1))
    assume(number != links[place].number)
    links[place] = links[place]._replace(number=number)
    assert find_faults(CHAIN, sorted(links, key=lambda link: link.number), head)


@given(bodies, st.data())
def test_a_record_that_is_removed_is_named_wherever_it_stood(some: list[bytes], data: st.DataObject) -> None:
    links, head = chained(some)
    number = links.pop(data.draw(st.integers(0, len(links) - 1))).number
    assert (number, "is missing") in {(fault.number, fault.why[:10]) for fault in find_faults(CHAIN, links, head)}


@given(bodies, st.data())
def test_records_that_change_places_are_found(some: list[bytes], data: st.DataObject) -> None:
    links, head = chained(some)
    first, second = data.draw(st.integers(0, len(links) - 1)), data.draw(st.integers(0, len(links) - 1))
    assume(first != second)
    links[first], links[second] = (
        links[second]._replace(number=links[first].number),
        links[first]._replace(number=links[second].number),
    )
    assert find_faults(CHAIN, links, head)


@given(bodies, st.binary(max_size=40), st.data())
def test_a_history_that_is_told_anew_with_right_digests_does_not_meet_the_head(
    some: list[bytes], other: bytes, data: st.DataObject
) -> None:
    _, head = chained(some)
    place = data.draw(st.integers(0, len(some) - 1))
    assume(some[place] != other)
    told, _ = chained([*some[:place], other, *some[place + 1 :]])
    assert find_faults(CHAIN, told, head)
    longer, _ = chained([*some, other])
    assert find_faults(CHAIN, longer, head)


@given(st.lists(st.binary(max_size=40), min_size=2, max_size=6), st.binary(max_size=40), st.data())
def test_a_record_that_is_replaced_with_a_right_digest_is_missed_by_the_next(
    some: list[bytes], other: bytes, data: st.DataObject
) -> None:
    links, head = chained(some)
    place = data.draw(st.integers(0, len(links) - 2))
    assume(some[place] != other)
    replaced = links[place]
    digest = link_digest(replaced.previous, CHAIN, replaced.number, other)
    links[place] = replaced._replace(body=other, digest=digest)
    assert [fault.number for fault in find_faults(CHAIN, links, head)] == [replaced.number + 1]


@given(bodies)
def test_records_of_one_chain_are_not_those_of_another(some: list[bytes]) -> None:
    links, head = chained(some, "other")
    assert find_faults(CHAIN, links, head)


def test_a_chain_whose_head_is_missing_is_at_fault_even_without_records() -> None:
    assert find_faults(CHAIN, [], None)
    assert find_faults(CHAIN, chained([b"{}"])[0], None)


def test_a_number_far_off_does_not_make_the_list_of_what_is_missing_endless() -> None:
    links, head = chained([b"{}"])
    far = [links[0]._replace(number=1 << 62)]
    assert len(find_faults(CHAIN, far, head)) < 10
    assert len(find_faults(CHAIN, links, Head(1 << 62, head.digest))) < 10
