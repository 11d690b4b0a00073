"""The truth about simulated accounts as a label for back-tests of `heliograph.insights.intervene`."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

import ibis
import pyarrow as pa

from heliograph.demo.bulk import event_batches
from heliograph.demo.population import Incident, PopulationRule, draw_population
from heliograph.insights.backtest import back_test, history_of, moments
from heliograph.insights.scope import Scope
from heliograph.insights.tables import defined_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.insights.backtest import BackTest
    from heliograph.insights.intervene import InterventionRule, Measures
    from heliograph.plan.model import Plan

EARLY_DAYS: Final = 14
"""For so long after its beginning an incident cannot be seen in two whole windows: such moments are left out."""
LATE_DAYS: Final = 56
"""After so many days an incident is what is usual: likewise."""


ACCOUNTS: Final = PopulationRule(
    seed=3, first_day=date(2026, 1, 5), days=182, accounts=60, people=25, incident_days=(0.45, 0.9), incidents=0.5
)
"""The accounts of the recorded back-test: half a year, half of them with an incident."""


def simulated_back_test(plan: Plan, rule: InterventionRule, *, of: PopulationRule = ACCOUNTS) -> BackTest:
    """Back-test the rule on simulated accounts; thresholds are chosen on every other one.

    Args:
        plan: What they use.
        rule: The rule as it is.
        of: The accounts.
    """
    population = draw_population(of, plan)
    events = ibis.memtable(pa.Table.from_batches(event_batches(population, plan)))
    last = of.first_day + timedelta(days=of.days - 1)
    scope = Scope(until=last, now=datetime.combine(last + timedelta(days=1), time(12), UTC))
    history = history_of(defined_tables(events, plan), plan, scope, rule)
    seen = moments(history, rule, last=last, label=known_incident(population.accounts))
    return back_test(seen, rule, by="unit")


def known_incident(accounts: pa.Table) -> Callable[[str, Measures, int, date], bool | None]:
    """Return the label of moments of these accounts: whether an incident began two to eight weeks ago.

    Args:
        accounts: `heliograph.demo.population.Population.accounts`.
    """
    known = {row["account"]: row for row in accounts.to_pylist()}
    silent = Incident.SILENCE.name.lower()

    def label(unit: str, _measures: Measures, _latest: int, ends: date) -> bool | None:
        since, kind = known[unit]["since"], known[unit]["incident"]
        if since is None or since > ends:
            return False
        days = (ends - since).days + 1
        return None if kind == silent or not EARLY_DAYS <= days <= LATE_DAYS else True

    return label
