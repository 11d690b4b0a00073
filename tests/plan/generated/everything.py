# ruff: noqa
"""Recording functions for the events of the plan everything.

Made by `heliograph plan generate python` from version 3 of the plan everything, digest
4fd6948e9acf7b40146eb121c48cb6c9eba420b56abf9a12eed902a120a663c2. Do not edit: change
the plan, and make this file anew.

Each function records one event with the process's recorder, and tells whether it is in
the outbox. It never waits and never raises. See `heliograph.record` for `user`,
`session`, `anonymous`, `time`, `source` and `actor`; a property that is None is left
out.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

from heliograph import record as _record

if TYPE_CHECKING:  # every type checker knows it, and nothing needs it at run time
    from typing_extensions import deprecated as _deprecated
else:

    def _deprecated(reason):
        return lambda function: function


Source: TypeAlias = Literal["web", "backend"]
Actor: TypeAlias = Literal["operator", "service"]
SearchSubmittedOutcome: TypeAlias = Literal["ok", "no_results", "timed_out"]
SearchSubmittedPatternType: TypeAlias = Literal["literal", "regexp", "structural"]
SearchSubmittedLanguage: TypeAlias = Literal[
    "c",
    "c++",
    "c-sharp",
    "go",
    "haskell",
    "java",
    "javascript",
    "kotlin",
    "python",
    "ruby",
    "rust",
    "scala",
    "swift",
    "typescript",
]
SearchSubmittedTwiceOutcome: TypeAlias = Literal["succeeded", "failed"]
SearchSubmittedTwiceClass: TypeAlias = Literal["import", "default"]
DeleteOutcome: TypeAlias = Literal["ok"]
IntOutcome: TypeAlias = Literal["ok"]
IntLanguage: TypeAlias = Literal["en", "fr"]


def search_submitted(
    *,
    user: str | int | None = None,
    session: str | int | None = None,
    anonymous: str | int | None = None,
    outcome: SearchSubmittedOutcome | None = "ok",
    pattern_type: SearchSubmittedPatternType | None = None,
    language: SearchSubmittedLanguage | None = None,
    result_count: int | None = None,
    share: float | None = None,
    ratio: float | None = None,
    duration_ms: timedelta | None = None,
    filter_count: int | None = None,
    case_sensitive: bool | None = None,
    time: datetime | None = None,
    source: Source | None = None,
    actor: Actor | None = None,
) -> bool:
    """A user submitted a search, and the search ended. What was typed stays with the
    user.

    Feature: search. Owner: search-platform. It is a core action. Earlier names:
    SearchStarted.

    Args:
        outcome: How it ended. `ok`: It found something. `no_results`: It ended, and
            found nothing. `timed_out`: It was stopped by its time limit.
        pattern_type: How the text of the query was understood. One of literal, regexp,
            structural.
        language: The language that the search was limited to. One of c, c++, c-sharp,
            go, haskell, java, javascript, kotlin, python, ruby, rust, scala, swift,
            typescript.
        result_count: Results found. Whole number, -10 to 100,000, to the nearest 10.
        share: Share of the repositories that was searched. Number, 0.0 to 1.0, to the
            nearest 0.01.
        ratio: Time spent waiting for each second of work. Number, -0.5 to 1,000.0.
        duration_ms: From submission to the last result. A span of time, 0 to 600,000
            milliseconds.
        filter_count: Filters in the query; never which. Whole number; count, in buckets
            from 0, 1, 2, 5, 10, 100.
        case_sensitive: Whether upper and lower case were told apart. True or false.
    """
    return _record(
        "SearchSubmitted",
        user=user,
        session=session,
        anonymous=anonymous,
        outcome=outcome,
        pattern_type=pattern_type,
        language=language,
        result_count=result_count,
        share=share,
        ratio=ratio,
        duration_ms=duration_ms,
        filter_count=filter_count,
        case_sensitive=case_sensitive,
        time=time,
        source=source,
        actor=actor,
    )


@_deprecated(
    'Since 2026-11-01. "SearchSubmitted" says as much. Use SearchSubmitted.',
)
def search_submitted_twice(
    *,
    user: str | int | None = None,
    session: str | int | None = None,
    anonymous: str | int | None = None,
    outcome: SearchSubmittedTwiceOutcome | None,
    class_: SearchSubmittedTwiceClass | None = None,
    lambda_: int | None = None,
    str: bool | None = None,
    constructor: bool | None = None,
    time: datetime | None = None,
    source: Source | None = None,
    actor: Actor | None = None,
) -> bool:
    """\"\"\"Submitted\"\"\" twice: */ ends a comment in C:\\new, --> and ]]> in XML,
    </script> in HTML, ;; in LookML, {{ liquid }} and @{constant}; `ticks`, *stars*,
    _lines_, <b>tags</b> and | bars.

    Feature: search. Owner: search-platform.

    Deprecated since 2026-11-01. "SearchSubmitted" says as much. Use SearchSubmitted.

    Args:
        outcome: How it ended. `succeeded`: # It worked, and this is no heading.
            `failed`: 1. It did not, and this is no list.
        class_: A keyword of many languages. One of import, default.
        lambda_: Another, and a count. Whole number, 0 to 10.
        str: A name that Python knows. True or false.
        constructor: A name that JavaScript knows. True or false.
    """
    return _record(
        "SearchSubmittedTwice",
        user=user,
        session=session,
        anonymous=anonymous,
        outcome=outcome,
        str=str,
        constructor=constructor,
        time=time,
        source=source,
        actor=actor,
        **{"class": class_},
        **{"lambda": lambda_},
    )


def delete(
    *,
    user: str | int | None = None,
    session: str | int | None = None,
    anonymous: str | int | None = None,
    outcome: DeleteOutcome | None = "ok",
    time: datetime | None = None,
    source: Source | None = None,
    actor: Actor | None = None,
) -> bool:
    """A user deleted a page.

    Feature: pages. Owner: pages.

    Args:
        outcome: How it ended. `ok`: It worked.
    """
    return _record(
        "delete",
        user=user,
        session=session,
        anonymous=anonymous,
        outcome=outcome,
        time=time,
        source=source,
        actor=actor,
    )


def int_(
    *,
    user: str | int | None = None,
    session: str | int | None = None,
    anonymous: str | int | None = None,
    outcome: IntOutcome | None = "ok",
    language: IntLanguage | None = None,
    time: datetime | None = None,
    source: Source | None = None,
    actor: Actor | None = None,
) -> bool:
    """A user looked at a page, and the event has a name that Python knows.

    Feature: pages. Owner: pages. It does not make its user active.

    Args:
        outcome: How it ended. `ok`: It worked.
        language: The language of the page. One of en, fr.
    """
    return _record(
        "int",
        user=user,
        session=session,
        anonymous=anonymous,
        outcome=outcome,
        language=language,
        time=time,
        source=source,
        actor=actor,
    )
