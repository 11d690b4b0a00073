"""Off is off, seen from outside: the kernel tells of every socket that the real processes open, and there is none."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from debian import require_program
from harness import INSTANCE
from heliograph import Recorder
from heliograph.instance.state import Choice, State
from heliograph.keys import public_key_text
from heliograph.settings import (
    AgentSettings,
    EventLogsSettings,
    PlanSettings,
    RecorderSettings,
    Settings,
    commented_file,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLAN = Path(__file__).resolve().parents[2] / "plans" / "code-intelligence.yaml"
SOCKET_CALL = re.compile(r"\b(?:socket|connect|sendto|sendmsg|socketpair|bind)\(")


class Site(NamedTuple):
    """An instance where everything that could open a connection is configured, and events are waiting."""

    folder: Path
    file: Path

    def write(self, level: str = "events") -> None:
        settings = Settings(
            plan=PlanSettings(file=str(PLAN)),
            recorder=RecorderSettings(outbox=str(self.folder / "outbox")),
            agent=AgentSettings(
                gateway="https://gateway.heliograph.invalid",
                instance=INSTANCE,
                key=str(self.folder / "instance.pem"),
                vendor_keys=str(self.folder / "vendor.keys"),
                state=str(self.folder / "agent"),
                level=level,  # type: ignore[arg-type] # one of the three
                timeout_seconds=2,
            ),
            event_logs=EventLogsSettings(dsn="host=database.heliograph.invalid dbname=product connect_timeout=2"),
        )
        self.file.write_text(commented_file(settings))

    def choose(self, level: str) -> None:
        with closing(State(self.folder / "agent", exclusive=False)) as state:
            state.add_choice(Choice(datetime.now(UTC), level, "admin", ""))

    def run(
        self, *words: str, before: Sequence[str] = (), environment: Mapping[str, str] | None = None, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run ``heliograph WORDS``; what does not end by itself is asked to after `seconds`."""
        program = [sys.executable, "-m", "heliograph.cli", "--config", str(self.file), *words]
        return subprocess.run(
            ["timeout", "--signal=TERM", str(seconds), *before, *program],
            env={**os.environ, **(environment or {})},
            text=True,
            capture_output=True,
            check=False,
        )

    def trace(
        self, *words: str, environment: Mapping[str, str] | None = None, seconds: float = 60
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        """Run it under strace, and return with it the calls that have to do with sockets."""
        strace = require_program("strace", package="strace")
        trace = self.folder / "trace"
        watched = [strace, "-f", "--seccomp-bpf", "-qq", "-e", "trace=%network", "-o", str(trace)]
        done = self.run(*words, before=watched, environment=environment, seconds=seconds)
        assert "strace:" not in done.stderr, done.stderr
        return done, [line for line in trace.read_text(errors="replace").splitlines() if SOCKET_CALL.search(line)]

    def dropped(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = json.loads(self.run("agent", "status", "--json").stdout)["dropped"]
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path, tmp_path / "heliograph.toml")
    (tmp_path / "vendor.keys").write_text(public_key_text(Ed25519PrivateKey.generate()) + "\n")
    recorder = Recorder(RecorderSettings(outbox=str(tmp_path / "outbox")))
    for _ in range(3):
        assert recorder.record("SearchSubmitted", user=1)
    recorder.close()
    site.write()
    return site


def test_at_events_the_trace_shows_sockets_so_that_their_absence_means_something(site: Site) -> None:
    strace = require_program("strace", package="strace")
    trace = site.folder / "trace"
    words = [strace, "-f", "--seccomp-bpf", "-qq", "-e", "trace=%network", "-o", str(trace)]
    program = [sys.executable, "-m", "heliograph.cli", "--config", str(site.file), "agent", "run"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*words, *program], stdout=quiet, stderr=quiet, start_new_session=True) as process:
        try:
            end = time.monotonic() + 120
            while not (trace.exists() and SOCKET_CALL.search(trace.read_text(errors="replace"))):
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.1)
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # strace passes none on
    assert "AF_" in trace.read_text(errors="replace")


@pytest.mark.parametrize("way", ["settings", "environment", "choice", "do_not_track"])
def test_by_each_way_to_off_the_agent_opens_no_socket_and_drops_what_was_queued(site: Site, way: str) -> None:
    environment = {}
    if way == "settings":
        site.write("off")
    elif way == "environment":
        environment = {"HELIOGRAPH_AGENT_LEVEL": "off"}
    elif way == "choice":
        site.choose("off")
    else:
        environment = {"DO_NOT_TRACK": "1"}
    done, calls = site.trace("agent", "run", "--until-drained", environment=environment)
    assert done.returncode == 0, done.stderr
    assert calls == []
    assert site.dropped() == {"SearchSubmitted": {"not_permitted": 3}}


@pytest.mark.parametrize(
    "words",
    [
        ("agent", "level"),
        ("agent", "level", "events", "--by", "admin", "--reason", "a trial"),
        ("agent", "level", "--history"),
        ("agent", "key"),
        ("agent", "status"),
    ],
    ids=" ".join,
)
def test_looking_and_choosing_open_no_socket_at_any_level(site: Site, words: tuple[str, ...]) -> None:
    site.choose("events")
    done, calls = site.trace(*words)
    assert done.returncode == 0, done.stderr
    assert calls == []


def test_at_off_an_agent_without_any_network_ends_cleanly(site: Site) -> None:
    unshare = require_program("unshare", package="util-linux")
    alone = [unshare, "--map-root-user", "--net"]
    probe = subprocess.run([*alone, "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("this machine makes no network namespaces")
    site.write("off")
    done = site.run("agent", "run", "--until-drained", before=alone)
    assert done.returncode == 0, done.stderr
    assert site.dropped() == {"SearchSubmitted": {"not_permitted": 3}}
