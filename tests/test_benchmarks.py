"""The benchmarks measure what they say: at a tiny size, every figure is there, and no event was rejected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from debian import require_program
from heliograph.insights.questions import QUESTIONS

REPOSITORY = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, str(REPOSITORY / "benchmarks" / "throughput.py")]
TINY = ["--seconds", "0.05", "--rounds", "1", "--events", "600", "--backlog", "500"]


def test_a_benchmark_finds_every_figure_and_has_every_event_accepted(tmp_path: Path) -> None:
    require_program("rsyslogd", package="rsyslog rsyslog-openssl")
    file = tmp_path / "figures.json"
    run = subprocess.run(
        [*COMMAND, *TINY, "--folder", str(tmp_path), "--json", str(file)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    figures = json.loads(file.read_bytes())
    parts = {"machine", "plan", "disk", "limits", "peer", "together", "gateway", "exporter", "recorder"}
    assert parts == figures.keys()
    assert figures["peer"]["events"] == 600, "the peer's file holds all that was sent"
    assert [each["workers"] for each in figures["together"]] == [2, 2]
    assert all(each["sent"] == each["accepted"] > 0 for each in figures["together"])
    assert [each["format"] for each in figures["gateway"]] == ["Arrow, zstd", "NDJSON, zstd", "NDJSON, gzip"]
    for each in figures["gateway"]:
        assert each["sent"] == each["accepted"] > 0
        assert each["rejected"] == 0
    assert figures["exporter"]["events"] == figures["exporter"]["accepted"] == 500
    assert figures["recorder"]["dropped"] == 0
    assert all(number >= 0 for number in numbers(figures))
    for name in ("decode_per_cpu_second", "loaded_per_cpu_second"):
        assert all(each[name]["median"] > 0 for each in figures["gateway"])
    assert list(tmp_path.iterdir()) == [file], "the folder is left as it was found"


def test_what_validation_costs_is_measured_for_both_formats_and_the_exporter() -> None:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "validation.py"), "--events", "300", "--rounds", "1"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "120"})
    assert run.returncode == 0, run.stderr
    for part in ("Arrow, zstd", "NDJSON, zstd", "Exporter", "held to the plan, past the second wall"):
        assert part in run.stdout


def test_a_soak_finds_the_slope_of_each_process_and_has_every_event_accepted(tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "soak.py"), "--seconds", "2", "--rate", "100"]
    run = subprocess.run(
        [*command, "--upkeep-seconds", "1", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "150"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    for part in ("gateway", "agent", "loader", "MiB an hour", "1 times upkeep"):
        assert part in run.stdout
    assert not [*tmp_path.iterdir()]


def test_a_profile_says_where_the_gateways_time_goes(tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "gateway_profile.py"), "--seconds", "1.5"]
    run = subprocess.run([*command, "--folder", str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "Arrow, zstd" in run.stdout
    assert "hold columns to the plan" in run.stdout or "server: TLS" in run.stdout


def test_questions_are_timed_with_equal_answers_and_an_event_is_soon_in_one(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "questions.py"), "--events", "20000", "--rounds", "1"]
    run = subprocess.run(
        [*command, "--fresh", "2", "--upkeep", "--folder", str(tmp_path), "--json", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    [size] = json.loads(file.read_bytes())["sizes"]
    assert size["made"]["events"] > 5_000
    for when in ("questions", "kept"):
        assert [each["name"] for each in size[when]] == [question.verb for question in QUESTIONS]
    for way in ("ours", "plain", "scans"):
        assert [each["name"] for each in size[way]] == ["funnel", "sessions"]
    assert all(number > 0 for number in numbers(size))
    for part in (
        "searches, from the marts ",
        "searches, from the marts after upkeep",
        "plain SQL / ours",
        "bytes an event",
        "From record to a changed answer",
    ):
        assert part in run.stdout
    assert list(tmp_path.iterdir()) == [file], "the folder is left as it was found"


def numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for each in value.values() for number in numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in numbers(each)]
    return [value] if isinstance(value, int | float) else []
