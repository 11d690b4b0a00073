"""The headers of the log's frames: a delivery, a ping, or a checkpoint, as JSON."""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from heliograph.gateway.account import Account
from heliograph.gateway.exporters import Exporters
from heliograph.wire import PingReceipt, Receipt, Skeleton


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="delivery"):
    """The header of one delivery."""

    receipt: Receipt
    account: str
    plan: str
    content_type: str
    content_encoding: str
    """Of the body in the frame."""
    rejections: list[Skeleton] = []
    exporter: str = ""
    """The id of the process that sent it; empty if it did not say."""
    after: list[str] = []
    """The ids of those that ran before it, as far as it said."""


class PingEntry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="ping"):
    """The header of one ping."""

    receipt: PingReceipt
    account: str


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="checkpoint"):
    """The header of a segment's first frame: what all segments before it amount to."""

    accounts: dict[str, Account]
    exporters: dict[str, Exporters] = {}
    """Who has sent for each instance."""


Stored: TypeAlias = Entry | PingEntry
Header: TypeAlias = Stored | Checkpoint
encode_header: Final = msgspec.json.Encoder().encode
decode_header: Final = msgspec.json.Decoder[Header](Header).decode
