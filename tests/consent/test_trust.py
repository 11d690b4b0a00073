"""Whose word is the vendor's: what the admin pinned, and what follows from it by endorsements; nothing else."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from heliograph.consent.trust import LONGEST_CHAIN, PinError, follow, read_pins
from heliograph.keys import fingerprint, public_key_text
from heliograph.wire import POLICY_TYPE
from signing import endorsement

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.consent.trust import Keys

CHAIN = [Ed25519PrivateKey.generate() for _ in range(LONGEST_CHAIN + 3)]
ENDORSEMENTS = [endorsement(by, key) for by, key in itertools.pairwise(CHAIN)]
STRANGER = Ed25519PrivateKey.generate()


def pins(*keys: Ed25519PrivateKey) -> Keys:
    return {fingerprint(key): key.public_key() for key in keys}


def test_a_key_follows_from_a_pinned_one_through_those_between() -> None:
    assert follow(pins(CHAIN[0]), ENDORSEMENTS[:3]).keys() == pins(*CHAIN[:4]).keys()
    assert follow(pins(CHAIN[0]), reversed(ENDORSEMENTS[:3])).keys() == pins(*CHAIN[:4]).keys()


def test_a_key_that_is_pinned_no_more_takes_with_it_all_that_hangs_on_it() -> None:
    assert follow(pins(STRANGER), ENDORSEMENTS[:3]).keys() == pins(STRANGER).keys()
    assert follow({}, ENDORSEMENTS) == {}


def test_a_key_that_is_pinned_for_itself_stays_when_the_one_before_it_goes() -> None:
    assert follow(pins(CHAIN[1]), ENDORSEMENTS[:3]).keys() == pins(*CHAIN[1:4]).keys()


def test_a_chain_is_followed_for_a_bounded_length() -> None:
    assert follow(pins(CHAIN[0]), ENDORSEMENTS).keys() == pins(*CHAIN[: LONGEST_CHAIN + 1]).keys()


def test_only_an_endorsement_endorses() -> None:
    signer, payload, _ = endorsement(STRANGER, CHAIN[1]).split(".")
    forged = [
        endorsement(STRANGER, CHAIN[1]),
        endorsement(CHAIN[0], CHAIN[1], kind=POLICY_TYPE),
        ".".join([ENDORSEMENTS[0].split(".")[0], payload, ENDORSEMENTS[0].split(".")[2]]),
        f"{signer}..",
        "",
        "ä",
    ]
    assert follow(pins(CHAIN[0]), forged).keys() == pins(CHAIN[0]).keys()


def test_a_circle_of_endorsements_ends() -> None:
    circle = [endorsement(CHAIN[0], CHAIN[1]), endorsement(CHAIN[1], CHAIN[0])]
    assert follow(pins(CHAIN[0]), circle).keys() == pins(*CHAIN[:2]).keys()


@given(st.lists(st.sampled_from([(by, key) for by in range(5) for key in range(5)]), max_size=12), st.integers(0, 4))
def test_what_is_trusted_is_just_what_can_be_reached_from_a_pin(steps: list[tuple[int, int]], pin: int) -> None:
    reached = {pin}
    for _ in range(6):
        reached |= {key for by, key in steps if by in reached}
    found = follow(pins(CHAIN[pin]), [endorsement(CHAIN[by], CHAIN[key]) for by, key in steps])
    assert found.keys() == pins(*(CHAIN[each] for each in reached)).keys()


def test_pins_are_lines_with_comments(tmp_path: Path) -> None:
    file = tmp_path / "vendor.keys"
    lines = ["# the vendor's", "", f"{public_key_text(CHAIN[0])}  # 2026", f"  {public_key_text(CHAIN[1])}"]
    file.write_text("\n".join(lines))
    assert read_pins(str(file)).keys() == pins(*CHAIN[:2]).keys()


@pytest.mark.parametrize("content", [None, "", "# nothing yet\n", "no key\n", "\x00\xff"])
def test_pins_that_are_missing_are_told_with_the_whole_remedy(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "vendor.keys"
    if content is not None:
        file.write_text(content)
    with pytest.raises(PinError) as caught:
        read_pins(str(file))
    assert str(file) in caught.value.problems[0]
    assert "heliograph gateway key" in caught.value.problems[-1]
    assert "agent.vendor_keys" in caught.value.problems[-1]


def test_every_bad_line_of_the_pins_is_told_and_none_is_trusted(tmp_path: Path) -> None:
    file = tmp_path / "vendor.keys"
    file.write_text(f"first\n{public_key_text(CHAIN[0])}\nthird\n")
    with pytest.raises(PinError) as caught:
        read_pins(str(file))
    assert [problem.split(": ")[0] for problem in caught.value.problems[:-1]] == [f"{file}:1", f"{file}:3"]
