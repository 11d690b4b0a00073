"""How often would the advice to step in have been right? Told by going through a history window by window.

At each window that could have been the latest, the rule decides from what was known until then, and is held against a
label: what really happened afterwards in a real history, or what is known of simulated accounts. The two thresholds of
the rule are chosen on one half, the earlier one of a real history, and the figures are those of the other half. Beside
them stand those of a naive rule, which needs no statistics: active users or core actions of the last window are below
half of the mean of the eight before the last two.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
import pyarrow as pa

from heliograph.insights.answer import Answer, scope_parameters
from heliograph.insights.filters import scoped
from heliograph.insights.intervene import (
    InterventionRule,
    Measures,
    by_unit,
    findings,
    measures_of,
)
from heliograph.insights.known_days import first_days
from heliograph.insights.scope import Scope, Window, checked, number_of

if TYPE_CHECKING:
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

QUESTION: Final = "How often would the advice to step in have been right?"
BASELINE: Final = 8
"""Windows that the naive rule and the label of a real history compare with: those before the latest two."""
AFTER: Final = 8
"""Windows after a moment by which a real history labels it."""
THRESHOLDS: Final = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
CHANGES: Final = (0.2, 0.35, 0.5, 0.6)
"""What is tried for `InterventionRule.threshold` and `InterventionRule.minimum_change`."""
_WATCHED: Final = ("active_users", "core_actions")

Label: TypeAlias = Callable[[str, Measures, int, date], bool | None]
"""Takes a unit, all its windows, one of them as the latest and the last day of it. Returns whether to step in was
right; None where that cannot be told."""


class Moment(msgspec.Struct, frozen=True):
    """One window of one unit as the latest."""

    unit: str
    ends: date
    """The last day that was known."""
    label: bool
    naive: bool
    scores: tuple[tuple[str, float, float], ...]
    """Component, score and change for the worse of each finding."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How advice and truth met."""

    moments: int
    right: int
    """Moments at which to step in was right."""
    advised: int
    hits: int
    """Advised and right."""

    @property
    def precision(self) -> float | None:
        """Of what was advised, what was right; None where nothing was advised."""
        return self.hits / self.advised if self.advised else None

    @property
    def recall(self) -> float | None:
        """Of what was right, what was advised; None where nothing was right."""
        return self.hits / self.right if self.right else None

    @property
    def balance(self) -> float:
        """The harmonic mean of both, F1, by which thresholds are chosen."""
        both = self.advised + self.right
        return 2 * self.hits / both if both else 0.0


class BackTest(msgspec.Struct, frozen=True, kw_only=True):
    """What a back-test found: the thresholds chosen on one half, and the figures of the other."""

    threshold: float
    minimum_change: float
    chosen_on: Figures
    held_out: Figures
    defaults: Figures
    """Of the rule as it is, on the same held-out half."""
    naive: Figures
    """Likewise."""


SIMULATED: Final = Figures(moments=459, right=55, advised=52, hits=47)
"""The rule's defaults on simulated accounts whose incidents are known (`heliograph.demo.known_incidents`), on the half
on which no threshold was chosen. A test measures it anew."""
SIMULATED_NAIVE: Final = Figures(moments=459, right=55, advised=23, hits=19)
HISTORY: Final = Figures(moments=1041, right=133, advised=88, hits=42)
"""The rule's defaults on fourteen years of 25 real projects, each taken as an instance, on the later half; labelled by
`what_followed`. A test measures it anew where the data set is at hand."""
HISTORY_NAIVE: Final = Figures(moments=1041, right=133, advised=202, hits=69)


def recorded_notes() -> tuple[str, ...]:
    """Return in words how often the advice was right where that was measured."""
    measured = (
        ("simulated accounts whose incidents are known", SIMULATED, SIMULATED_NAIVE),
        ("14 years of 25 real projects, by whether use then stayed below half", HISTORY, HISTORY_NAIVE),
    )
    return (
        *(f"Back-tested on {of}: {_words(own)}; a naive rule {_words(naive)}." for of, own, naive in measured),
        "How often it would have been right in this lake: heliograph ask intervene --backtest lake.",
    )


def _words(each: Figures) -> str:
    return f"precision {each.precision or 0:.0%}, recall {each.recall or 0:.0%}"


def history_of(tables: Tables, plan: Plan, scope: Scope, rule: InterventionRule) -> dict[str, Measures]:
    """Return the windows of each unit from its first day to the scope's last; window 0 is the latest."""
    known = scoped(tables, plan, scope)
    first = first_days(known, scope).first_day.min().to_pyarrow().as_py()
    if first is None:
        return {}
    days = number_of(scope.last_complete_day) - first + 1
    window = Window(last=scope.last_complete_day, days=days)
    return by_unit(measures_of(known, plan, scope, window, rule).to_pyarrow())


def answer_own_back_test(tables: Tables, plan: Plan, scope: Scope, *, rule: InterventionRule | None = None) -> Answer:
    """Back-test the rule on the lake's own history, labelled by `what_followed`; thresholds are chosen on the past.

    Raises:
        QuestionError: A parameter of `rule` is out of bounds.
    """
    rule = checked(rule or InterventionRule())
    history = history_of(tables, plan, scope, rule)
    seen = moments(history, rule, last=scope.last_complete_day, label=what_followed)
    if not seen:
        return Answer(
            question=QUESTION,
            definition=f"A back-test needs {rule.windows + AFTER} windows of {rule.window_days} days or more.",
            table=pa.table({}),
            parameters=scope_parameters(scope, **msgspec.structs.asdict(rule)),
            notes=(f"No {scope.unit} has so many until {scope.last_complete_day}, with enough users.",),
        )
    label = "active users or core actions of the next eight windows stayed below half of the eight before"
    return answer_back_test(back_test(seen, rule, by="time"), of=f"the lake until {scope.until}", label=label)


def moments(history: dict[str, Measures], rule: InterventionRule, *, last: date, label: Label) -> list[Moment]:
    """Return all moments of a history at which there is a score, and a label.

    Args:
        history: As `history_of` returns it.
        rule: Says what is enough for a score. Its thresholds do not matter.
        last: The last day of window 0.
        label: Says what was right.
    """
    found = []
    for unit, windows in history.items():
        for latest in sorted(windows, reverse=True):
            ends = last - timedelta(days=latest * rule.window_days)
            known = {
                window - latest: windows[window] for window in range(latest, latest + rule.windows) if window in windows
            }
            scored = findings(known, rule, last=ends)
            right = label(unit, windows, latest, ends) if scored else None
            if right is not None:
                scores = tuple((each.component, each.score, each.change) for each in scored)
                found.append(Moment(unit, ends, right, _is_naive(windows, latest), scores))
    return found


def what_followed(_: str, windows: Measures, latest: int, ends: date) -> bool | None:  # noqa: ARG001 - a `Label`
    """Label a moment of a real history: did use stay low afterwards?

    Right means that the mean of active users or of core actions in the eight windows after the moment was below half of
    that in the eight windows before its latest two. A window in which nothing arrived counts as no use. It is a label
    of what became of the use, not of whether anybody could have helped.
    """
    if latest < AFTER:
        return None
    return any(
        _mean(windows, name, latest - AFTER, latest) < _mean(windows, name, latest + 2, latest + 2 + BASELINE) / 2
        for name in _WATCHED
    )


def figures(seen: Iterable[Moment], advised: Callable[[Moment], bool]) -> Figures:
    """Return how a rule met the labels."""
    pairs = [(moment.label, advised(moment)) for moment in seen]
    return Figures(
        moments=len(pairs),
        right=sum(label for label, _ in pairs),
        advised=sum(advice for _, advice in pairs),
        hits=sum(label and advice for label, advice in pairs),
    )


def advises(threshold: float, minimum_change: float) -> Callable[[Moment], bool]:
    """Return the rule with these thresholds."""
    return lambda moment: any(score >= threshold and change >= minimum_change for _, score, change in moment.scores)


def back_test(seen: Sequence[Moment], rule: InterventionRule, *, by: Literal["time", "unit"]) -> BackTest:
    """Choose thresholds on one half, and tell the figures of the other.

    Args:
        seen: All moments.
        rule: The rule as it is, which is told beside.
        by: Whether the halves are the earlier and the later moments, or every other unit in the order of names.
    """
    ends, units = sorted(moment.ends for moment in seen), sorted({moment.unit for moment in seen})
    middle = ends[len(ends) // 2] if ends else date.max
    odd = set(units[1::2])
    late = [moment.ends >= middle if by == "time" else moment.unit in odd for moment in seen]
    tuned = [moment for moment, later in zip(seen, late, strict=True) if not later]
    held_out = [moment for moment, later in zip(seen, late, strict=True) if later]
    best = max(itertools.product(THRESHOLDS, CHANGES), key=lambda each: figures(tuned, advises(*each)).balance)
    return BackTest(
        threshold=best[0],
        minimum_change=best[1],
        chosen_on=figures(tuned, advises(*best)),
        held_out=figures(held_out, advises(*best)),
        defaults=figures(held_out, advises(rule.threshold, rule.minimum_change)),
        naive=figures(held_out, lambda moment: moment.naive),
    )


def answer_back_test(test: BackTest, *, of: str, label: str) -> Answer:
    """Tell a back-test as an answer: a row for each rule.

    Args:
        test: What was found.
        of: What it was made of, in words.
        label: What was taken for right, in words.
    """
    told = (
        ("thresholds chosen", "they were chosen on it", test.chosen_on),
        ("thresholds chosen", "the other", test.held_out),
        ("thresholds as they are", "the other", test.defaults),
        ("naive: last week below half", "the other", test.naive),
    )
    return Answer(
        question=QUESTION,
        definition=f"Back-test on {of}, week by week. Right: {label}.",
        table=pa.Table.from_pylist([_row(rule, half, each) for rule, half, each in told]),
        parameters={"threshold": test.threshold, "minimum_change": test.minimum_change},
        notes=(f"Chosen: a threshold of {test.threshold:g} and a change of {test.minimum_change:.0%}.",),
    )


def _row(rule: str, half: str, each: Figures) -> dict[str, Any]:
    return {
        "rule": rule,
        "half": half,
        "moments": each.moments,
        "right": each.right,
        "advised": each.advised,
        "precision": each.precision,
        "recall": each.recall,
        "f1": each.balance,
    }


def _is_naive(windows: Measures, latest: int) -> bool:
    return any(
        (windows[latest][name] or 0.0) < _mean(windows, name, latest + 2, latest + 2 + BASELINE) / 2
        for name in _WATCHED
    )


def _mean(windows: Measures, component: str, first: int, end: int) -> float:
    """Return the mean of a component in the windows from `first` to before `end`; those not there have none of it."""
    return sum((windows[each][component] or 0.0) for each in range(first, end) if each in windows) / (end - first)
