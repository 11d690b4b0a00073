"""Node and the TypeScript compiler for tests: what is missing is installed once, by one process while others wait."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
from pathlib import Path

from debian import require_program

FOLDER = Path(__file__).resolve().parent
COMPILER = FOLDER / "node_modules" / "typescript" / "bin" / "tsc"


def find_compiler() -> list[str]:
    """The words that start the compiler; `package-lock.json` says which one it is, with its digest."""
    with (Path(tempfile.gettempdir()) / "heliograph-node.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        node, npm = require_program("node", package="nodejs"), require_program("npm", package="npm")
        if not COMPILER.exists():
            done = subprocess.run(
                [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=FOLDER,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=240,
                check=False,
            )
            assert done.returncode == 0, f"npm ci failed:\n{done.stdout[-2000:]}"
    return [node, str(COMPILER)]
