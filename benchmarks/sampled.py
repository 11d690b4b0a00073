"""Runs Heliograph's command line, and samples the stack of its main thread by the processor's time.

The signal comes every few milliseconds that this process has spent computing, and is told to the main thread between
two steps of Python, so that time in C is counted to the function that called it, and what threads beside the main one
do to whatever the main one does then. Arguments: a file for the counts, then those of ``heliograph``.
"""

from __future__ import annotations

import runpy
import signal
import sys
from collections import Counter
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_SECONDS = 0.003
_WRITE_EVERY = 50
Stack = tuple[str, ...]


def sample(file: Path) -> None:
    """Count stacks from here on; every so often write them: a line each, the outermost place first.

    Not at the end: a server that was told to end by a signal ends by that signal.
    """
    stacks: Counter[Stack] = Counter()
    numbers = count(1)

    def take(_signal: int, frame: FrameType | None) -> None:
        places: list[str] = []
        while frame is not None:
            places.append(f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_qualname}")
            frame = frame.f_back
        stacks[tuple(reversed(places))] += 1
        if next(numbers) % _WRITE_EVERY == 0:
            signal.setitimer(signal.ITIMER_PROF, 0)  # writing is not to be interrupted, nor to be counted
            lines = [f"{';'.join(stack)} {seen}\n" for stack, seen in [*stacks.items()]]
            # In one step, as somebody may be reading.
            whole = file.with_suffix(".new")
            whole.write_text("".join(lines))
            whole.replace(file)
            signal.setitimer(signal.ITIMER_PROF, _SECONDS, _SECONDS)

    file.touch()
    signal.signal(signal.SIGPROF, take)
    signal.setitimer(signal.ITIMER_PROF, _SECONDS, _SECONDS)


if __name__ == "__main__":
    sample(Path(sys.argv[1]))
    sys.argv = ["heliograph", *sys.argv[2:]]
    runpy.run_module("heliograph.cli", run_name="__main__", alter_sys=True)
