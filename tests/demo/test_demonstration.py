"""The main job, as people run it: real processes, TLS, PostgreSQL and kills; and figures that can disagree."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.parquet as pq
import pytest
import zstandard

from heliograph.demo.comparison import compare
from heliograph.demo.run import registered_names
from heliograph.event import INSTANCE_PATTERN, RANDOM_ID_PATTERN, UNDECLARED, Verdict
from heliograph.gateway.account import Account
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.log_reading import read_segment, segments
from heliograph.instance.account import InstanceAccount

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
RAW_IDS_FROM = 1_900_000_000
"""Added to the raw user ids of the sample, so that they can be looked for: small numbers are everywhere."""
BY_CHANCE = 2
"""So many of these numbers may be in one file that has nothing to do with them."""


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "heliograph.cli", "demo", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def processes_of(home: Path) -> list[str]:
    """Command lines of processes that still use a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(home) in command and entry.name != str(os.getpid()):
                found.append(command)
    return found


def test_live_use_arrives_whole_and_the_demonstration_ends_by_itself(tmp_path: Path) -> None:
    done = demo("--once", "--home", str(tmp_path / "home"), "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["agree"] is True
    assert [sum(one["source"].values()) > 500 for one in figures["instances"]] == [True] * 4
    for one in figures["instances"]:
        assert one["source"] == one["accepted"] == one["lake"] == one["instance_delivered"]
    for verb in ("searches", "power-users", "multi-feature-sessions", "intervene", "stickiest"):
        assert f"heliograph ask {verb}" in done.stdout
    assert "All figures agree." in done.stdout
    assert processes_of(tmp_path) == []


def test_ctrl_c_stops_everything_and_still_compares(tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-m", "heliograph.cli", "demo", "--home", str(home)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    said += process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert "All figures agree." in said
    assert processes_of(tmp_path) == []


@pytest.fixture(scope="module")
def sample(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven instances of the real table, with raw user ids that can be searched for."""
    path = tmp_path_factory.mktemp("sample") / "sample.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"""
            copy (
                select * replace (user_id + {RAW_IDS_FROM} as user_id)
                from read_parquet('{history}')
                where instance in (
                    select instance from read_parquet('{history}') group by 1
                    having count(*) between 1_000 and 14_000 order by count(*) limit 7
                )
                order by instance, id
            ) to '{path}' (format parquet)
            """
        )
    return path


@pytest.fixture(scope="module")
def exported(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The demonstration's home and figures after it exported the sample."""
    folder = tmp_path_factory.mktemp("exported")
    arguments = ["--once", "--history", str(sample), "--home", str(folder / "home"), "--json", str(folder / "f.json")]
    done = demo(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    yield folder / "home" / "history", json.loads((folder / "f.json").read_text())
    assert processes_of(folder) == []


def test_a_real_table_arrives_whole_although_processes_are_killed(
    exported: tuple[Path, dict[str, Any]], sample: Path
) -> None:
    _, figures = exported
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"select instance, name, count(*) from read_parquet('{sample}') group by all"
        ).fetchall()
    expected: dict[str, dict[str, int]] = {}
    for instance, name, count in rows:
        expected.setdefault(instance, {})[name] = count
    assert figures["agree"] is True
    assert figures["repeated_in_lake"] == 0
    for place in ("source", "accepted", "lake", "instance_delivered"):
        assert {one["instance"]: one[place] for one in figures["instances"]} == expected
    assert figures["kills"].get("gateway") == 1
    assert sum(count for name, count in figures["kills"].items() if name.startswith("agent-")) == 1


def everything_at_the_vendor(home: Path) -> Iterator[tuple[str, bytes]]:
    """Every byte that the vendor's side wrote: files as they are, and what is compressed in them in the clear."""
    for path in sorted([*(home / "vendor").rglob("*"), home / "logs" / "gateway.log", home / "logs" / "loader.log"]):
        if path.is_file():
            yield path.name, path.read_bytes().rstrip(b"\0")  # segments of the log end in empty space
        if path.suffix == ".parquet":
            yield path.name, str(pq.read_table(path).to_pylist()).encode()
    for generation in segments(home / "vendor" / "log"):
        for _, header, body in read_segment(home / "vendor" / "log", generation):
            if isinstance(header, Entry) and header.content_encoding == "zstd":
                yield f"log {generation}", zstandard.ZstdDecompressor().decompress(body)


def private_parts(content: bytes, words: set[bytes], numbers: set[bytes]) -> set[bytes]:
    """What of the given words and encoded numbers is in some bytes.

    One of some two hundred numbers of four bytes is in megabytes of compressed ones by chance, now and then; where ids
    are written, it is not one of them alone.
    """
    found = {word for word in (b"PRIVATE-CANARY", b"@corp.example", b"jane.doe") if word in content}
    found |= words.intersection(re.findall(rb"[0-9A-Za-z-]{8,}", content))
    met = {number for number in numbers if number in content}
    return found | (met if len(met) > BY_CHANCE else set())


def test_nothing_private_of_the_table_is_in_anything_the_vendor_wrote(
    exported: tuple[Path, dict[str, Any]], sample: Path
) -> None:
    home, _ = exported
    table = pq.read_table(sample, columns=["user_id", "anonymous_user_id", "insert_id"])
    raw_ids = set(table.column("user_id").to_pylist())
    texts = {*map(str, raw_ids), *table.column("anonymous_user_id").to_pylist(), *table.column("insert_id").to_pylist()}
    words = {text.encode() for text in texts} | {text.replace("-", "").encode() for text in texts}
    numbers = {raw.to_bytes(4, "little") for raw in raw_ids}
    looked = 0
    for name, content in everything_at_the_vendor(home):
        looked += len(content)
        assert private_parts(content, words, numbers) == set(), name
    assert looked > 1_000_000
    # The same search finds what it looks for where it is: in the product's own table.
    original = pq.read_table(sample).slice(0, 100)
    assert private_parts(str(original.to_pylist()).encode(), words, numbers) >= {b"PRIVATE-CANARY", b"@corp.example"}
    assert private_parts(original.column("user_id").combine_chunks().buffers()[1].to_pybytes(), words, numbers)


def test_users_in_the_lake_are_random_ids_one_for_each_real_one(
    exported: tuple[Path, dict[str, Any]], sample: Path
) -> None:
    home, _ = exported
    files = [str(path) for path in (home / "vendor" / "lake").rglob("events/**/*.parquet")]
    with duckdb.connect() as connection:
        stored = connection.execute(
            "select instance, user_id, count(*) from read_parquet($files, hive_partitioning = false) group by all",
            {"files": files},
        ).fetchall()
        real = connection.execute(
            f"select instance, user_id, count(*) from read_parquet('{sample}') group by all"
        ).fetchall()
    assert all(RANDOM_ID_PATTERN.fullmatch(user) for _, user, _ in stored)
    assert len({user for _, user, _ in stored}) == len(stored)
    as_counts = [sorted((instance, count) for instance, _, count in rows) for rows in (stored, real)]
    assert as_counts[0] == as_counts[1]


def test_the_accounts_can_be_looked_at_afterwards(exported: tuple[Path, dict[str, Any]]) -> None:
    home, figures = exported
    first = figures["instances"][0]

    def run(config: Path, *words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "heliograph.cli", "--config", str(config), *words],
            capture_output=True,
            text=True,
            check=True,
            cwd=home,
        )
        return json.loads(done.stdout)

    name = first["instance"]
    assert run(home / "vendor.toml", "gateway", "account", name, "--json")[name]["accepted"] == first["accepted"]
    assert run(home / "vendor.toml", "lake", "status", "--json")["events"][name] == first["lake"]
    own = run(home / "customers" / name / "heliograph.toml", "agent", "status", "--json")
    assert (own["delivered"], own["pending"]) == (first["accepted"], {})


def test_a_folder_that_is_not_the_demonstrations_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "thesis.txt").write_text("years of work")
    done = demo("--once", "--home", str(tmp_path))
    assert done.returncode == 1
    assert "no demonstration made it" in done.stderr
    assert (tmp_path / "live" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": {"A": 4}},
        {"source": {"A": 3, "B": 1}},
        {"lake": {"A": 2}},
        {"lake": {"A": 3, "B": 1}},
        {"erased": {"A": 1}},
        {"lake": {"A": 1}, "erased": {"A": 1}},
        {"vendor": Account(accepted={"A": 4})},
        {"vendor": Account(accepted={"A": 3}, rejected={"A": {Verdict.MALFORMED: 1}})},
        {"vendor": Account(accepted={"A": 3}, absent={UNDECLARED: {Verdict.LOST: 1}})},
        {"own": InstanceAccount(recorded=3, recorded_names={"A": 3}, delivered={"A": 2}, pending={"A": 1})},
        {"own": InstanceAccount(recorded=4, recorded_names={"A": 4}, delivered={"A": 3})},
    ],
)
def test_a_figure_that_is_off_by_one_anywhere_is_named(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {
        "source": {"A": 3},
        "vendor": Account(accepted={"A": 3}),
        "own": InstanceAccount(recorded=3, recorded_names={"A": 3}, delivered={"A": 3}),
        "lake": {"A": 3},
    }
    assert compare("acme", **right).differences == []
    assert compare("acme", **(right | wrong)).differences
    assert compare("acme", **(right | {"lake": {"A": 1}, "erased": {"A": 2}})).differences == []


def test_what_the_plan_does_not_declare_is_accounted_for_without_its_name() -> None:
    vendor = Account(accepted={"A": 3}, absent={UNDECLARED: {Verdict.UNDECLARED_EVENT: 2}})
    own = InstanceAccount(
        recorded=5,
        recorded_names={"A": 3, UNDECLARED: 2},
        delivered={"A": 3},
        dropped={UNDECLARED: {Verdict.UNDECLARED_EVENT: 2}},
    )
    assert compare("acme", {"A": 3, "Unheard": 2}, vendor, own, {"A": 3}).differences == []


def test_any_text_that_names_an_instance_becomes_a_name_that_the_registry_takes() -> None:
    names = registered_names(["Acme GmbH", "acme gmbh", "acme-gmbh", "", "日本", "a" * 200, "a" * 201, "ok.1_x-2"])
    assert names[:3] == ["acme-gmbh", "acme-gmbh-2", "acme-gmbh-3"]
    assert names[-1] == "ok.1_x-2"
    assert len(set(names)) == len(names)
    assert all(INSTANCE_PATTERN.fullmatch(name) for name in names)


def test_the_demonstration_notices_a_process_that_ends(tmp_path: Path) -> None:
    from heliograph.demo.processes import ProcessError, Processes, wait_until  # noqa: PLC0415 - only here

    with Processes(tmp_path, dict(os.environ)) as processes:
        broken = processes.start("broken", "heliograph.no_such_module")
        with pytest.raises(ProcessError, match="broken ended with status 1"):
            wait_until(lambda: False, seconds=20, what="nothing", check=[broken])
        begun = time.monotonic()
        with pytest.raises(ProcessError, match="still waiting for the moon"):
            wait_until(lambda: False, seconds=0.3, what="the moon")
        assert time.monotonic() - begun < 10
