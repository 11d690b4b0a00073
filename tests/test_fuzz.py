"""The fuzz targets: every input that was kept is replayed, and each target runs on for a while, led by coverage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fuzz_targets import TARGETS

FOLDER = Path(__file__).resolve().parent / "fuzz"
CORPUS = FOLDER / "corpus"
MOST_CORPUS_BYTES = 512 << 10
EXECUTIONS = 500


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_once_is_not_found_again(name: str) -> None:
    kept = sorted((CORPUS / name).iterdir())
    assert kept, "its corpus is missing"
    for file in kept:
        TARGETS[name].run(file.read_bytes())
    for seed in TARGETS[name].seeds():
        TARGETS[name].run(seed)


def test_the_corpus_stays_small() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    assert sum(file.stat().st_size for file in CORPUS.rglob("*") if file.is_file()) <= MOST_CORPUS_BYTES


@pytest.mark.parametrize("name", TARGETS)
def test_for_a_bounded_number_of_inputs_nothing_is_found(name: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    options = [f"-runs={EXECUTIONS}", "-seed=1", f"-artifact_prefix={tmp_path}/", str(corpus), str(CORPUS / name)]
    found = subprocess.run(
        [sys.executable, str(FOLDER / "fuzz.py"), name, *options], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr[-4_000:]
    assert f"Done {EXECUTIONS} runs" in found.stderr
