"""What all tests share: golden files, which `pytest --golden-renew` renews, data sets, a database, a browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import structlog

from browser import running_browser
from harness import Vendor
from heliograph.demo.postgres import PostgresCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

os.environ["COLUMNS"] = "160"  # the command line looks once, when it is imported
os.environ.pop("DO_NOT_TRACK", None)  # whoever runs the tests may have set it, and an agent obeys it

# A commit is judged by the same examples on every machine, and `make explore` looks for new ones. How long one takes
# says more about the machine's other load than about the code.
hypothesis.settings.register_profile("heliograph", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
hypothesis.settings.load_profile("heliograph")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-renew", action="store_true", help="write golden files anew instead of comparing with them"
    )


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Callable[[str, str], None]:
    """Return ``check(path, text)``: the file at `path`, from the repository's top, must hold just `text`."""

    def check(path: str, text: str) -> None:
        file = REPOSITORY / path
        if pytestconfig.getoption("--golden-renew"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            return
        held = file.read_text(encoding="utf-8") if file.exists() else None
        assert held == text, f"{path} differs from what is made now; if that is meant: pytest --golden-renew"

    return check


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    """A gateway that runs."""
    with Vendor(tmp_path).running() as vendor:
        yield vendor


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """A verb that a test runs in this process sets the log up for its own output, which is closed after it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def history() -> Path:
    """The real `event_logs` table: what ``HELIOGRAPH_HISTORY`` names, or the file beside the repository."""
    named = os.environ.get("HELIOGRAPH_HISTORY")
    file = Path(named) if named else REPOSITORY.parent / "shared" / "data" / "event_logs.parquet"
    if not file.is_file():
        pytest.skip(f"the history data set is not at {file}; name it with HELIOGRAPH_HISTORY")
    return file


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresCluster]:
    """A real PostgreSQL server: one for each test process. Nothing here tests the power going off, so no fsync."""
    folder = tmp_path_factory.mktemp("postgres")
    with PostgresCluster(folder, settings={"max_prepared_transactions": "20", "fsync": "off"}) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser. For one module, as an event loop of Playwright's runs in this thread as long as it is there."""
    with running_browser() as browser:
        yield browser
