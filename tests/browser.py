"""A real browser for tests: Debian's Chromium, driven by Playwright, which speaks with the server at hand alone."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

PROGRAM = "chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_browser() -> str:
    """The path of Chromium, which is installed when it is missing: by one process, while others wait."""
    with (Path(tempfile.gettempdir()) / "heliograph-browser.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = shutil.which(PROGRAM) or install_browser()
    assert found is not None, f"{PROGRAM} was installed, and is not on the path"
    return found


def install_browser() -> str | None:
    assert os.geteuid() == 0, f"{PROGRAM} is not installed, and only root can do that; run: apt-get install {PROGRAM}"
    for words in (["update"], ["install", "--yes", "--no-install-recommends", PROGRAM]):
        done = subprocess.run(
            ["apt-get", "-qq", *words],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"apt-get {words[0]} failed:\n{done.stdout[-2000:]}"
    return shutil.which(PROGRAM)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser, without a window. Certificates are trusted by its contexts: ``ignore_https_errors=True``."""
    path = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()
