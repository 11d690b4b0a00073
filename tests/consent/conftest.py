"""Agreements for tests, with amendments and endings: by hand, and as whole histories."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import strategies as st

from heliograph.consent.agreement import Agreement, Amendment, Ending, Route

if TYPE_CHECKING:
    from heliograph.consent.records import Record

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
GOOD = Agreement(
    id="agreement-1",
    account="acme",
    route=Route.ORDER_FORM,
    document="OF-2041",
    terms_version="2026-05",
    terms_digest="0a" * 32,
    recorded_by="legal",
    recorded=NOON,
    effective_from=NOON,
)


def amendment(number: int = 1, day: float = 0, agreement: str = "agreement-1", **changes: Any) -> Amendment:
    given: dict[str, Any] = {
        "id": f"amendment-{number}",
        "account": "acme",
        "agreement": agreement,
        "document": f"AM-{number}",
        "effective": NOON + day * DAY,
        "recorded": NOON,
        "recorded_by": "legal",
    }
    return Amendment(**(given | changes))


def ending(day: float, agreement: str = "agreement-1") -> Ending:
    return Ending(
        agreement=agreement,
        account="acme",
        reason="over",
        recorded=NOON,
        recorded_by="legal",
        effective=NOON + day * DAY,
    )


moments = st.integers(-6, 6).map(lambda hours: NOON + timedelta(hours=hours))


@st.composite
def histories(draw: st.DrawFn, *, redlines: bool = True) -> list[Record]:
    """Agreements with amendments and endings, each with good evidence; dates may contradict each other."""
    agreements = draw(
        st.lists(
            st.builds(
                msgspec.structs.replace,
                st.just(GOOD),
                id=st.integers(1, 9).map("agreement-{}".format),
                effective_from=moments,
                effective_to=st.none() | st.just(NOON + DAY),
                redline=st.none() | st.just("struck") if redlines else st.none(),
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda agreement: agreement.id,
        )
    )
    ids = st.sampled_from([agreement.id for agreement in agreements])
    records: list[Record] = [*agreements]
    for number in range(draw(st.integers(0, 5))):
        day, agreement = draw(st.integers(-6, 6)) / 24, draw(ids)
        change: dict[str, Any] = draw(
            st.sampled_from(
                [
                    {"effective_to": NOON + draw(st.integers(-6, 30)) * DAY / 24},
                    {"terms_version": "2026-11", "terms_digest": "0b" * 32},
                    *([{"redline": "struck"}, {"lifts_redline": True}] if redlines else []),
                ]
            )
        )
        is_ending = draw(st.integers(0, 4)) == 0
        records.append(ending(day, agreement) if is_ending else amendment(number, day, agreement, **change))
    return records
