"""A vendor's end for the tests of erasure: two accounts, a clock that is set by hand, and a search of every byte."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb
import msgspec
import pyarrow.parquet as pq
import zstandard
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import ManifestFile

from harness import ACCOUNT, DIGEST, INSTANCE, USER, Vendor, as_arrow, deliver, event, random_id, zstd
from heliograph.consent.agreement import Route
from heliograph.consent.deployment import Deployment
from heliograph.gateway.log_reading import read_accounts
from heliograph.keys import load_or_create_key, public_key_text
from heliograph.lake.erasure import Eraser
from heliograph.lake.loader import Loader
from heliograph.lake.report import count_erased, count_events, count_repeated
from heliograph.lake.tables import event_files
from heliograph.registry.erasures import Ordered, Pending, order, pending, read_erasures
from heliograph.wire import ARROW

if TYPE_CHECKING:
    import httpx

    from heliograph.settings import Settings

OTHER = "other-1"
OTHERS_ACCOUNT = "other"
OTHERS_USER = random_id(2)


class Clock:
    """The time, set by hand."""

    def __init__(self) -> None:
        self.moment = datetime.now(UTC) + timedelta(seconds=1)

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, **more: float) -> None:
        self.moment += timedelta(**more)


class Lake:
    """A vendor with two accounts, of one instance each, and what an erasure needs."""

    def __init__(self, folder: Path, **gateway: Any) -> None:
        self.vendor = Vendor(folder, **{"segment_bytes": 32 << 10, **gateway})
        lake = msgspec.structs.replace(self.vendor.settings.lake, erasure_grace_seconds=0.001)
        self.settings: Settings = msgspec.structs.replace(self.vendor.settings, lake=lake)
        self.folder = folder
        self.log = Path(self.settings.gateway.log)
        self.registry = self.vendor.registry()
        self.keys = {INSTANCE: self.vendor.key}
        self.registry.add_account(OTHERS_ACCOUNT)
        self.registry.add_agreement(
            OTHERS_ACCOUNT,
            route=Route.ORDER_FORM,
            document="order form 2",
            terms_version="2026-10",
            terms_digest=DIGEST,
            recorded_by="legal",
        )
        self.add_instance(OTHER, OTHERS_ACCOUNT)
        self.clock = Clock()

    def add_instance(self, name: str, account: str) -> None:
        self.keys[name] = load_or_create_key(self.folder / f"{name}.pem")
        key = public_key_text(self.keys[name])
        self.registry.add_instance(name, account=account, deployment=Deployment.MANAGED, public_key=key)

    def reopened(self) -> Self:
        """The same folder, at the same time, after other processes have worked in it."""
        made = self.__class__.__new__(self.__class__)
        made.__dict__.update(self.__dict__)
        made.registry = self.vendor.registry()
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.registry.close()

    def http(self, instance: str = INSTANCE) -> httpx.Client:
        """A client that is authenticated as an instance."""
        http = self.vendor.http()
        if instance != INSTANCE:
            client = self.vendor.client(self.keys[instance], instance)
            client.policy()
            http.headers["authorization"] = f"Bearer {client._token}"
            client.close()
        return http

    def send(self, instance: str, first: int, last: int, *, user: str | None = None, epoch: int = 1) -> None:
        """Deliver events in a gateway that runs for as long as that takes."""
        with self.vendor.running(now=self.clock), self.http(instance) as http:
            send(http, first, last, user=user or (USER if instance == INSTANCE else OTHERS_USER), epoch=epoch)

    def loader(self, **lake: Any) -> Loader:
        section = msgspec.structs.replace(self.settings.lake, **lake)
        return Loader(self.settings.gateway, section, self.vendor.plan)

    def load(self) -> None:
        loader = self.loader()
        while loader.load_round():
            pass
        loader.close()

    def order(self, **fields: Any) -> Ordered:
        given = {"account": ACCOUNT, "reason": "revoked", "recorded_by": "legal", "since": None, "now": self.clock()}
        return order(self.registry, **(given | fields))

    def eraser(self, loader: Loader, **more: Any) -> Eraser:
        return Eraser(loader, self.settings, self.registry, **{"now": self.clock, "wait": lambda _: None, **more})

    def carry_out(self, **more: Any) -> list[str]:
        """Carry out all that is ordered, once its time has come; return why what stays pending does."""
        self.clock.advance(minutes=1)
        return self.carry_out_now(**more)

    def carry_out_now(self, **more: Any) -> list[str]:
        """Carry out what is due at this moment."""
        loader = self.loader()
        eraser = self.eraser(loader, **{"wait": lambda seconds: time.sleep(min(seconds, 0.01)), **more})
        try:
            due = eraser.due()
            return eraser.carry_out(due) if due else []
        finally:
            loader.close()

    def pending(self) -> list[Pending]:
        return pending(self.registry)

    def closes(self) -> None:
        """See that what was accepted is in the lake or erased, once."""
        stored: dict[str, Counter[str]] = {}
        for counts in (count_events(self.settings.lake), count_erased(self.settings)):
            for instance, names in counts.items():
                stored.setdefault(instance, Counter()).update(names)
        assert stored == {name: Counter(each.accepted) for name, each in read_accounts(self.log).items()}
        assert count_repeated(self.settings.lake) == 0

    def proof(self) -> Any:
        """The latest order's proof."""
        return read_erasures(self.registry)[-1].proof

    def places_of(self, text: str) -> list[str]:
        """Every file of the vendor's that holds some bytes, with whatever is compressed in it opened."""
        needle = text.encode()
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        return [str(path.relative_to(self.folder)) for path in files if any(needle in part for part in _parts(path))]


def _parts(path: Path) -> list[bytes]:
    """A file's bytes, and those of everything compressed in it."""
    raw = path.read_bytes()
    parts = [raw]
    if path.suffix == ".log":
        start = raw.find(zstandard.FRAME_HEADER)
        while start >= 0:
            with contextlib.suppress(zstandard.ZstdError):
                parts.append(zstandard.ZstdDecompressor().decompressobj().decompress(raw[start:]))
            start = raw.find(zstandard.FRAME_HEADER, start + 1)
    elif path.suffix == ".parquet":
        # Read as dictionaries, so that words that no row uses any more would show.
        names = [name for name in pq.read_schema(path).names if name.endswith("_id") or name == "instance"]
        metadata = pq.read_metadata(path)
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        encoded = {each.path_in_schema for each in columns if any("DICTIONARY" in word for word in each.encodings)}
        table = pq.ParquetFile(path, read_dictionary=[name for name in names if name in encoded]).read()
        for name in names:
            for chunk in table.column(name).chunks:
                words = chunk.dictionary if name in encoded else chunk
                parts += [str(word).encode() for word in words.to_pylist()]
    elif path.suffix == ".avro" and not path.name.startswith("snap-"):
        manifest = ManifestFile.from_args(
            manifest_path=path.as_uri(),
            manifest_length=0,
            partition_spec_id=0,
            added_snapshot_id=0,
            sequence_number=0,
            min_sequence_number=0,
        )
        for entry in manifest.fetch_manifest_entry(PyArrowFileIO(), discard_deleted=False):
            parts += [*(entry.data_file.lower_bounds or {}).values(), *(entry.data_file.upper_bounds or {}).values()]
    return parts


def send(http: httpx.Client, first: int, last: int, *, user: str | None = USER, epoch: int = 1) -> None:
    """Deliver events of one user; each has its number as its duration."""
    events = [event(n, user_id=user, session_id=user, duration_ms=n) for n in range(first, last + 1)]
    response = deliver(http, zstd(as_arrow(events)), epoch=epoch, numbers=(first, last), content_type=ARROW)
    assert response.status_code == 200, response.text


def read_rows(lake: Lake) -> list[dict[str, Any]]:
    """Everything in the lake."""
    files = event_files(lake.settings.lake)
    if not files:
        return []
    with duckdb.connect() as connection:
        query = "select * from read_parquet($files, union_by_name = true, hive_partitioning = false) order by all"
        rows: list[dict[str, Any]] = connection.sql(query, params={"files": files}).to_arrow_table().to_pylist()
    return rows
