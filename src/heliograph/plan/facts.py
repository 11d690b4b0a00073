"""Facts: what the product may say of its instance as a whole. Both ends hold them to the plan by what is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heliograph.event import VERSION_PATTERN
from heliograph.plan.coarsen import coarsen, coarsen_all, is_whole
from heliograph.plan.model import BooleanProperty, CountsFact, IntegerProperty, MemberProperty, VersionFact
from heliograph.plan.sensitive import find_sensitive
from heliograph.plan.sensitive.numbers import allows_digit_runs, is_digit_run, is_no_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph.ping import FactValue
    from heliograph.plan.model import Fact, Plan


def fact_passes(value: object, fact: Fact) -> bool:
    """Tell whether a value is what the plan declares for its fact, and is not sensitive."""
    return _is_declared(value, fact) and not _is_sensitive(value, fact)


def _is_declared(value: object, fact: Fact) -> bool:
    match fact:
        case VersionFact():
            return isinstance(value, str) and VERSION_PATTERN.fullmatch(value) is not None
        case IntegerProperty():
            return _is_between(value, fact.minimum, fact.maximum) and coarsen(value, fact) == value
        case BooleanProperty():
            return isinstance(value, bool)
        case MemberProperty():
            return isinstance(value, str) and value in fact.members
        case CountsFact():
            return (
                isinstance(value, dict)
                and value.keys() <= {*fact.members}
                and all(_is_between(count, 0, fact.maximum) for count in value.values())
            )


def _is_sensitive(value: Any, fact: Fact) -> bool:
    """Tell whether a declared value is personal or secret data all the same; see `heliograph.plan.sensitive`."""
    match fact:
        case VersionFact():
            return is_no_version(value)
        case MemberProperty():
            return find_sensitive(value) is not None
        case CountsFact():
            return any(map(find_sensitive, value)) or (
                allows_digit_runs(fact) and any(map(is_digit_run, value.values()))
            )
        case _:
            return allows_digit_runs(fact) and is_digit_run(value)


def passing_facts(facts: Mapping[str, FactValue], plan: Plan) -> dict[str, FactValue]:
    """Return those of `facts` that the plan declares and whose values pass once rounded, in the plan's order."""
    coarse = coarsen_all(facts, plan.facts)
    return {
        name: coarse[name] for name, fact in plan.facts.items() if name in coarse and fact_passes(coarse[name], fact)
    }


def fact_problems(facts: Mapping[str, object], plan: Plan) -> list[str]:
    """Return what is wrong with `facts` by the plan; empty if nothing is.

    A fact is named only if the plan declares it, and no value is ever repeated: either may be private.
    """
    undeclared = sum(name not in plan.facts for name in facts)
    problems = [f"facts that the plan does not declare: {undeclared}"] if undeclared else []
    return problems + [
        f"facts.{name} {_problem(facts[name], fact)}"
        for name, fact in plan.facts.items()
        if name in facts and not fact_passes(facts[name], fact)
    ]


def _problem(value: object, fact: Fact) -> str:
    return "looks like personal or secret data" if _is_declared(value, fact) else f"is not {expected(fact)}"


def expected(fact: Fact) -> str:
    """Say in words what a fact may be."""
    match fact:
        case VersionFact():
            return "a version of one to four numbers with dots between"
        case IntegerProperty():
            step = f", to the nearest {fact.precision}" if fact.precision > 1 else ""
            return f"a whole number from {fact.minimum} to {fact.maximum}{step}"
        case BooleanProperty():
            return "true or false"
        case MemberProperty():
            return f"one of {', '.join(fact.members)}"
        case CountsFact():
            return f"a whole number from 0 to {fact.maximum} for each of some of {', '.join(fact.members)}"


def _is_between(value: object, minimum: int, maximum: int) -> bool:
    return isinstance(value, int) and is_whole(value) and minimum <= value <= maximum
