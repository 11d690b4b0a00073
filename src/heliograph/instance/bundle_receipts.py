"""Taking in the vendor's receipts for a bundle."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, cast

from heliograph.bundle import BundleError
from heliograph.instance.exporter import Exporter
from heliograph.ledger.receipts import ReceiptError, check_receipt
from heliograph.wire import Receipt

if TYPE_CHECKING:
    from heliograph.bundle import PartAnswer, Receipts
    from heliograph.consent.trust import Keys
    from heliograph.instance.state import State
    from heliograph.instance.transport import GatewayClient
    from heliograph.plan.model import Plan
    from heliograph.settings import Settings


class Done(NamedTuple):
    """What taking receipts in has come to."""

    settled: int
    """Deliveries."""
    known: int
    """Those that need nothing: settled before, or repetitions of what went another way."""
    refused: list[PartAnswer]
    """Those that the vendor did not take."""


class _NoWay:
    """Stands where the way to the gateway would: nothing is sent here."""

    clock_offset = timedelta()
    built_by: str | None = None
    ledger_head: str | None = None


def settle(answers: Receipts, keys: Keys, settings: Settings, state: State, plan: Plan) -> Done:
    """Settle every delivery that has a receipt, in the order of its epoch.

    Args:
        answers: What the vendor's import wrote.
        keys: The vendor's keys that are trusted.
        settings: Of the instance.
        state: The agent's memory, held alone.
        plan: By which the use is counted.

    Raises:
        BundleError: A receipt is not the vendor's word, or is for another instance; nothing was settled.
        OSError: The outbox cannot be read.
    """
    if answers.instance != settings.agent.instance:
        raise BundleError(f"these receipts are for {answers.instance!r}, and this is {settings.agent.instance!r}")
    checked = [(_checked(part, keys, answers.instance), part.signature) for part in answers.parts if part.signature]
    exporter = Exporter(
        agent=settings.agent,
        recorder=settings.recorder,
        plan=plan,
        state=state,
        client=cast("GatewayClient", _NoWay()),
    )
    settled = 0
    for receipt, signature in sorted(checked, key=lambda each: (each[0].epoch, each[0].first)):
        settled += exporter.settle_elsewhere(receipt, signature or "")
    refused = [part for part in answers.parts if part.problem is not None]
    return Done(settled, len(answers.parts) - settled - len(refused), refused)


def _checked(part: PartAnswer, keys: Keys, instance: str) -> Receipt:
    try:
        receipt = check_receipt(part.signature or "", keys, Receipt)
    except ReceiptError as error:
        raise BundleError(f"epoch {part.epoch}, {part.first}-{part.last}: its receipt {error}") from None
    if receipt.instance != instance or (receipt.epoch, receipt.first) != (part.epoch, part.first):
        raise BundleError(f"epoch {part.epoch}, {part.first}-{part.last}: its receipt is for another delivery")
    return receipt
