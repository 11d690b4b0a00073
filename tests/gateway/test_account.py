"""The gateway's account: each number has one outcome, and what does not add up is told with its range."""

from __future__ import annotations

import pytest

from heliograph.difference import Differing
from heliograph.event import Verdict
from heliograph.gateway.account import Account
from heliograph.wire import Receipt


def receipt(first: int, last: int, *, accepted: int | None = None, rejected: int = 0, epoch: int = 7) -> Receipt:
    return Receipt(
        instance="acme-1",
        epoch=epoch,
        first=first,
        last=last,
        accepted={"PageViewed": last - first + 1 - rejected if accepted is None else accepted},
        rejected={"PageViewed": {Verdict.FUTURE_TIME: rejected}} if rejected else {},
        absent={},
        digest="0" * 64,
        agreement="agreement-1",
        received=1,
    )


def test_an_account_of_whole_deliveries_in_their_order_closes() -> None:
    account = Account()
    for each in (receipt(1, 10), receipt(11, 20, rejected=3), receipt(1, 5, epoch=8)):
        assert account.add(each) == []
        assert account.closes()
    assert account.numbers() == account.counted() == 25
    assert account.names() == {"PageViewed": 25}


@pytest.mark.parametrize(
    ("planted", "kind", "numbers"),
    [
        (receipt(13, 20), Differing.SKIPPED, (11, 12)),
        (receipt(6, 20), Differing.REPEATED, (6, 10)),
        (receipt(1, 10), Differing.REPEATED, (1, 10)),
        (receipt(11, 20, accepted=9), Differing.UNBALANCED, (11, 20)),
        (receipt(11, 20, accepted=10, rejected=1), Differing.UNBALANCED, (11, 20)),
    ],
    ids=["a skipped range", "an overlap", "a doubled delivery", "a lost count", "a count too many"],
)
def test_a_planted_mistake_is_named_with_its_range(planted: Receipt, kind: Differing, numbers: tuple[int, int]) -> None:
    account = Account()
    account.add(receipt(1, 10))
    [difference] = account.add(planted)
    assert (difference.kind, difference.epoch, (difference.first, difference.last)) == (kind, 7, numbers)
    assert account.differences == [difference]
    assert not account.closes()
