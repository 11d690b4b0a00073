"""One customer's story over real processes and TLS: critical, a signed order form, a redline, erasure, off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import zstandard

from heliograph import Recorder
from heliograph.consent.erasure import user_digest
from heliograph.demo.home import Home
from heliograph.demo.processes import Processes, wait_until
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.log_reading import read_segment, segments
from heliograph.instance.ping_sender import last_day_over
from heliograph.instance.state import State
from heliograph.lake.tables import event_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from heliograph.demo.home import Customer
    from heliograph.demo.processes import Process

PLAN = "plans/code-intelligence.yaml"
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}
SECONDS = 60
USERS = 7


class Story:
    """Both ends, and what people do at them: everything by the verbs that they would use."""

    def __init__(self, folder: Path, plan: Path) -> None:
        self.home = Home(folder, plan)
        self.customer: Customer = self.home._customer("acme-1", "acme")
        self.recorded = 0

    def vendor(self, *words: str) -> str:
        return self._run(self.home.vendor_file, words)

    def instance(self, *words: str) -> str:
        return self._run(self.customer.settings_file, words)

    def _run(self, config: Path, words: tuple[str, ...]) -> str:
        command = [sys.executable, "-m", "heliograph.cli", "--config", str(config), *words]
        done = subprocess.run(command, env=ENVIRONMENT, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def use(self, rounds: int, *, at: datetime | None = None) -> int:
        """The product is used: events of seven users, as many as may be recorded."""
        recorder = Recorder(self.customer.settings.recorder, version="6.1.0")
        calls = [("SearchSubmitted", user) for _ in range(rounds) for user in range(USERS)]
        kept = sum(recorder.record(name, user=f"person-{user}", time=at) for name, user in calls)
        recorder.close()
        self.recorded += len(calls)
        return kept

    def here(self) -> dict[str, Any]:
        """The instance's half of the loss account, which closes."""
        account = self.status()
        parts = (account["delivered"], account["pending"])
        dropped = sum(sum(verdicts.values()) for verdicts in account["dropped"].values())
        rejected = sum(sum(verdicts.values()) for verdicts in account["rejected"].values())
        assert account["recorded"] == sum(sum(part.values()) for part in parts) + dropped + rejected
        assert account["recorded"] == self.recorded
        return account

    def status(self) -> dict[str, Any]:
        account: dict[str, Any] = json.loads(self.instance("agent", "status", "--json"))
        return account

    def delivered(self) -> int:
        return sum(self.here()["delivered"].values())

    def level(self) -> str:
        """What may leave, as far as the instance knows."""
        level: str = json.loads(self.instance("agent", "level", "--json"))["level"]
        return level

    def not_permitted(self) -> int:
        return sum(verdicts.get("not_permitted", 0) for verdicts in self.here()["dropped"].values())

    def there(self) -> dict[str, int]:
        """The vendor's half: what was accepted, and what of it the lake holds or has erased."""
        gateway = json.loads(self.vendor("gateway", "account", "--json")).get("acme-1", {"accepted": {}})
        lake = json.loads(self.vendor("lake", "status", "--json"))
        return {
            "accepted": sum(gateway["accepted"].values()),
            "events": sum(lake["events"].get("acme-1", {}).values()),
            "erased": sum(lake["erased"].get("acme-1", {}).values()),
            "pings": lake["pings"].get("acme-1", 0),
        }

    def agent(self, processes: Processes) -> Process:
        return processes.start("agent", "heliograph.cli", "--config", str(self.customer.settings_file), "agent", "run")

    def stored(self) -> Iterator[bytes]:
        """Every byte that the vendor wrote but its keys, with the compressed bodies of the log in the clear."""
        for path in sorted(self.home.vendor_folder.rglob("*")):
            if path.is_file():
                yield path.read_bytes()
        log = self.home.vendor_folder / "log"
        for generation in segments(log):
            for _, header, body in read_segment(log, generation):
                if isinstance(header, Entry) and body:
                    yield zstandard.ZstdDecompressor().decompress(body)


def test_from_critical_to_events_and_back_to_nothing_every_account_closes(  # noqa: PLR0915 - one story
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    story = Story(tmp_path / "story", pytestconfig.rootpath / PLAN)
    told = last_day_over(datetime.now(UTC))
    # An agent that has run since that day; no test waits for a day to be over.
    state = State(story.home.folder / "customers" / "acme-1" / "agent")
    state.pings.begin(told)
    state.close()
    key = story.instance("agent", "key").strip()
    story.vendor("registry", "add-account", "acme")
    story.vendor("registry", "add-instance", "acme-1", "--account", "acme", "--deployment", "managed", "--key", key)
    with Processes(story.home.logs, ENVIRONMENT) as processes:
        vendor = str(story.home.vendor_file)
        gateway = processes.start("gateway", "heliograph.cli", "--config", vendor, "gateway", "run")
        loader = processes.start("loader", "heliograph.cli", "--config", vendor, "lake", "load", "--follow")

        # Nothing is agreed: critical telemetry, added up on the instance, and no event.
        silent = story.use(3, at=datetime.combine(told, time(12), UTC))
        agent = story.agent(processes)
        check = [gateway, loader, agent]
        wait_until(lambda: story.not_permitted() == silent, seconds=SECONDS, what="the purge", check=check)
        wait_until(lambda: story.there()["pings"] == 1, seconds=SECONDS, what="the ping", check=check)
        assert story.delivered() == story.there()["accepted"] == 0
        assert "acme-1" in story.vendor("ask", "critical")

        # A signed order form: events, each with the agreement that allows it.
        agreed = datetime.now(UTC)
        order = ("--route", "order_form", "--document", "OF-2041", "--terms", "2026-05", "--digest", DIGEST)
        story.vendor("registry", "agree", "acme", *order, "--recorded-by", "legal")
        agent.kill()  # and started again, it asks at once what it may send
        wait_until(lambda: story.level() == "events", seconds=SECONDS, what="the level events", check=check)
        delivered = story.use(20)
        wait_until(lambda: story.delivered() == delivered, seconds=SECONDS, what="events", check=check)
        wait_until(lambda: story.there()["events"] == delivered, seconds=SECONDS, what="the lake", check=check)
        assert story.there()["accepted"] == delivered
        with duckdb.connect() as connection:
            query = "select distinct agreement, user_id from read_parquet($files)"
            rows = connection.execute(query, {"files": event_files(story.home.vendor.lake)}).fetchall()
        assert {agreement for agreement, _ in rows} == {"agreement-1"}
        ids = {user_id for _, user_id in rows}
        assert len(ids) == USERS
        assert any(user_id.encode() in content for content in story.stored() for user_id in ids)

        # A redline, while the instance is away: what is queued is purged at the first contact, and none of it sent.
        agent.stop()
        purged = story.not_permitted()
        queued = story.use(5)
        redline = ("--document", "amendment 1", "--redline", "Section 4.2 is struck", "--recorded-by", "legal")
        story.vendor("registry", "amend", "agreement-1", *redline)
        agent = story.agent(processes)
        check = [gateway, loader, agent]
        wait_until(lambda: story.not_permitted() == purged + queued, seconds=SECONDS, what="the purge", check=check)
        assert story.delivered() == delivered == story.there()["accepted"]
        assert "critical" in story.vendor("registry", "explain", "acme-1").splitlines()[0]

        # What was stored under it is erased, and proved gone.
        since = (agreed - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        erase = (
            "lake",
            "erase",
            "--account",
            "acme",
            "--since",
            since,
            "--reason",
            "redline",
            "--recorded-by",
            "legal",
        )
        assert "is proved" in story.vendor(*erase)
        there = story.there()
        assert (there["events"], there["erased"], there["accepted"]) == (0, delivered, delivered)
        left = [user_id for content in story.stored() for user_id in ids if user_id.encode() in content]
        assert left == []
        assert not any(user_digest(user_id).encode() in content for content in story.stored() for user_id in ids)
        assert story.vendor("registry", "verify")

        # The admin turns everything off: nothing is recorded any more, and nobody is asked.
        story.instance("agent", "level", "off", "--by", "admin")
        wait_until(lambda: story.use(1) == 0, seconds=SECONDS, what="the recorder to hear of it", check=check)
        wait_until(
            lambda: story.status()["recorded"] == story.recorded, seconds=SECONDS, what="the account", check=check
        )
        agent.stop()
        at_the_end = story.here()
        assert sum(at_the_end["pending"].values()) == 0
        assert story.delivered() == delivered == story.there()["accepted"]
        assert story.not_permitted() + delivered == story.recorded
