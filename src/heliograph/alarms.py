"""Every alarm as a rule for Prometheus: docs/alerts.yaml is made of this table; each has a page in docs/runbook."""

from __future__ import annotations

import enum
from typing import Any, Final

_LINK: Final = "docs/runbook/{}.md"


class Severity(enum.StrEnum):
    """How soon somebody should look."""

    PAGE = "page"
    """Now: something is lost, or will be within hours."""
    TICKET = "ticket"
    """On the next working day."""


class Alarm(enum.Enum):
    """Every alarm: its page, what it means, its expression, how long that must hold, and its severity."""

    ACCOUNT_DIFFERS = (
        "account-differs",
        "What was recorded of an event, and what became of it, do not add up.",
        (
            "heliograph_agent_account_open_differences > 0"
            " or heliograph_gateway_account_open_differences > 0"
            " or heliograph_loader_account_open_differences > 0"
        ),
        "0m",
        Severity.PAGE,
    )
    LEDGER_CHANGED = (
        "ledger-changed",
        "An instance's ledger was changed, which nobody has acknowledged, or was not verified to its end for a month.",
        "heliograph_agent_ledger_problems > 0 or time() - heliograph_agent_ledger_verified_timestamp_seconds > 2592000",
        "0m",
        Severity.PAGE,
    )
    OUTBOX_NEAR_BOUND = (
        "outbox-near-bound",
        "An instance's outbox will soon be full, and then drop new events.",
        "heliograph_agent_outbox_bytes > 0.8 * heliograph_agent_outbox_bound_bytes",
        "10m",
        Severity.PAGE,
    )
    EVENTS_DROPPED = (
        "events-dropped",
        "An instance gave events up: the outbox was full or could not be written, or the disk lost them.",
        (
            'sum by (instance, outcome) (increase(heliograph_agent_events_total{outcome=~"outbox_full|outbox_failed'
            '|recorder_busy|lost"}[1h])) > 0'
        ),
        "0m",
        Severity.PAGE,
    )
    AGENT_SILENT = (
        "agent-silent",
        "An agent does not run, or has not looked at its account for ten minutes.",
        "time() - heliograph_agent_checked_timestamp_seconds > 600",
        "5m",
        Severity.TICKET,
    )
    AGENT_NOT_SENDING = (
        "agent-not-sending",
        "An agent that may send has events older than an hour.",
        "heliograph_agent_oldest_pending_seconds > 3600 and on (instance) heliograph_agent_level == 2",
        "15m",
        Severity.TICKET,
    )
    AGENT_REFUSED = (
        "agent-refused",
        "The gateway refuses an agent for a reason that does not pass by itself.",
        'heliograph_agent_failures{reason!~"none|unreachable|disk|plan_changed|superseded_exporter"} > 3',
        "10m",
        Severity.TICKET,
    )
    EXPORTER_SUPERSEDED = (
        "exporter-superseded",
        "Two processes send under one instance's name, and one of them is refused.",
        (
            'heliograph_agent_failures{reason="superseded_exporter"} > 0'
            ' or increase(heliograph_gateway_requests_total{outcome="superseded_exporter"}[10m]) > 0'
        ),
        "5m",
        Severity.PAGE,
    )
    POLICY_NOT_REFRESHED = (
        "policy-not-refreshed",
        "An agent has not heard the vendor's policy for longer than it holds.",
        "heliograph_agent_policy_age_seconds > 7200",
        "10m",
        Severity.TICKET,
    )
    VERIFICATION_FAILED = (
        "verification-failed",
        "An agent does not believe the vendor's word: its signature, its key or its age is wrong.",
        'heliograph_agent_doubt{doubt=~"wrong_signature|unknown_key|replayed|other_instance|malformed"} > 0',
        "5m",
        Severity.PAGE,
    )
    CLOCK_SKEW = (
        "clock-skew",
        "An instance's clock differs from the gateway's by more than five minutes.",
        "abs(heliograph_agent_clock_offset_seconds) > 300",
        "15m",
        Severity.TICKET,
    )
    GATEWAY_NOT_READY = (
        "gateway-not-ready",
        "A gateway cannot take deliveries, which wait on the instances.",
        'heliograph_gateway_ready == 0 or up{job="heliograph-gateway"} == 0',
        "2m",
        Severity.PAGE,
    )
    LOG_NEAR_BOUND = (
        "log-near-bound",
        "The gateway's log, or its disk, will soon be full; deliveries are then refused with 507.",
        (
            "heliograph_gateway_log_bytes > 0.8 * heliograph_gateway_log_bound_bytes"
            " or heliograph_gateway_disk_free_bytes < 1e9"
        ),
        "10m",
        Severity.PAGE,
    )
    LAKE_NEGLECTED = (
        "lake-neglected",
        "Upkeep of the lake has not come to its end for an hour, or a table knows very many snapshots.",
        "time() - heliograph_lake_kept_timestamp_seconds > 3600 or heliograph_lake_snapshots > 2000",
        "15m",
        Severity.TICKET,
    )
    LOADER_BEHIND = (
        "loader-behind",
        "What was acknowledged is not in the lake five minutes later, or no loader is at work.",
        (
            "heliograph_loader_lag_seconds > 300 or time() - heliograph_loader_checked_timestamp_seconds > 300"
            " or increase(heliograph_loader_failures_total[10m]) > 0"
        ),
        "5m",
        Severity.TICKET,
    )
    DISK_SLOW = (
        "disk-slow",
        "Forcing deliveries to the gateway's disk takes more than 100 milliseconds, one time in twenty.",
        "histogram_quantile(0.95, sum by (le, instance) (rate(heliograph_gateway_commit_seconds_bucket[5m]))) > 0.1",
        "15m",
        Severity.TICKET,
    )
    INVALID_INPUT_HIGH = (
        "invalid-input-high",
        "More than one event in twenty that arrives is rejected, or one request in five is refused.",
        (
            'sum(rate(heliograph_gateway_events_total{outcome!~"accepted|not_permitted|opted_out"}[15m]))'
            " > 0.05 * sum(rate(heliograph_gateway_events_total[15m]))"
            ' or sum(rate(heliograph_gateway_requests_total{outcome!~"ok|duplicate|plan_changed"}[15m]))'
            " > 0.2 * sum(rate(heliograph_gateway_requests_total[15m]))"
        ),
        "15m",
        Severity.TICKET,
    )

    def __init__(self, page: str, about: str, expression: str, lasting: str, severity: Severity) -> None:
        self.page = page
        """Its page in docs/runbook, without the ending."""
        self.about = about
        self.expression = expression
        self.lasting = lasting
        """How long the expression must hold, as Prometheus writes it."""
        self.severity = severity


def rules() -> dict[str, Any]:
    """Return the rules as Prometheus reads them."""
    return {
        "groups": [
            {
                "name": "heliograph",
                "rules": [
                    {
                        "alert": "Heliograph" + each.name.title().replace("_", ""),
                        "expr": each.expression,
                        "for": each.lasting,
                        "labels": {"severity": str(each.severity)},
                        "annotations": {"summary": each.about, "runbook": _LINK.format(each.page)},
                    }
                    for each in Alarm
                ],
            }
        ]
    }
