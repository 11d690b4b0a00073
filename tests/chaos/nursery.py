"""A process that has imported the program and forks its verbs: real processes, to be killed for real, without a start
of seconds each.

Run as ``python nursery.py``. Reads a JSON command a line, answers a JSON line. Each child is a session of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import sys
import time
from typing import Any

# All that the verbs and the product import, once.
import heliograph.cli
import heliograph.gateway.server
import heliograph.instance.agent
import heliograph.lake.erasure
import heliograph.lake.loader
import heliograph.registry.store
from heliograph import Recorder
from heliograph.settings import load_settings

JOURNAL = struct.Struct("<i")
children: set[int] = set()


def record(settings_file: str, journal: str, first: int, pause: float) -> None:
    """Record unique values until told to stop, or killed; write each into the journal once `record` has taken it.

    How many it has not taken stands in a file beside the journal, as long as it lives.
    """
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    recorder = Recorder(load_settings(settings_file).recorder, version="5.3.1", source="web")
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    missed = os.open(f"{journal}.missed", os.O_WRONLY | os.O_CREAT, 0o600)
    misses = 0
    value = first
    while not stopped:
        if recorder.record("Worked", user=value % 97, session=value % 997, number=value):
            os.write(descriptor, JOURNAL.pack(value))
        else:
            misses += 1
            os.pwrite(missed, JOURNAL.pack(misses), 0)
        value += 1
        time.sleep(pause)
    recorder.close()


def become(command: dict[str, Any]) -> None:
    """Be the child."""
    os.setsid()
    log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(log, standard)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if "record" in command:
        record(*command["record"])
        return
    sys.argv = ["heliograph", *command["arguments"]]
    heliograph.cli.main()


def fork(command: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        children.add(child)
        return child
    status = 1
    try:
        become(command)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException as error:  # noqa: BLE001 - the parent's loop must not go on in a child
        sys.stderr.write(f"{error!r}\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(pid: int, *, block: bool) -> int | None:
    """Return the child's exit status, negative for a signal; None while it runs."""
    found, status = os.waitpid(pid, 0 if block else os.WNOHANG)
    children.discard(found)
    return os.waitstatus_to_exitcode(status) if found else None


def obey(command: dict[str, Any]) -> Any:
    if "signal" in command:
        os.kill(command["pid"], command["signal"])
        return wait(command["pid"], block=True)
    if "pid" in command:
        return wait(command["pid"], block=command.get("block", False))
    return fork(command)


def tell(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    tell(os.getpid())
    for line in sys.stdin:
        tell(obey(json.loads(line)))
    # Nobody is left who could end them.
    for child in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
