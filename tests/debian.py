"""Programs of Debian that tests need, and install when they are missing and may."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def require_program(program: str, *, package: str) -> str:
    """Return the path of `program`, installing Debian's `package` where it is missing; skip the test if that cannot be.

    As root a failure to install is a failure of the test: whoever can have the program has to. Several packages stand
    with spaces between.
    """
    found = shutil.which(program)
    if found is not None:
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip(f"{program} is not installed, and only root can do that; run: apt-get install {package}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", *package.split()]):
        subprocess.run(["apt-get", "-qq", *words], env=environment, check=True, stdin=subprocess.DEVNULL)
    found = shutil.which(program)
    assert found is not None, f"{package} was installed, and there is no {program}"
    return found
