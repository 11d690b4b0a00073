"""The repository is formatted, free of lint, typed, and its arrows point one way."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
TOOLS = Path(sysconfig.get_path("scripts"))


def check(tool: str, *words: str) -> None:
    """Run a tool of this environment on the repository, and fail with what it says."""
    done = subprocess.run(
        [TOOLS / tool, *words],
        cwd=REPOSITORY,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, f"{tool} {' '.join(words)}\n{done.stdout}"


def test_the_linter_finds_nothing() -> None:
    check("ruff", "check", "--output-format=concise", ".")


def test_every_file_is_formatted() -> None:
    check("ruff", "format", "--check", ".")


def test_types_agree() -> None:
    check("mypy", *(folder for folder in ("src", "tests", "benchmarks") if (REPOSITORY / folder).is_dir()))


def test_imports_point_down_the_path_of_an_event() -> None:
    check("lint-imports")
