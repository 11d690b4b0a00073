"""Where the gateway's time goes under load: its stacks, sampled by the processor's time, as two tables.

The first one adds up the steps of a delivery, each with all that it calls; the second one the functions in which the
samples ended, without what they call. Run it by ``make profile``; ``ARGS="--seconds 20"`` passes options on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from generators import Generators, Load
from heliograph.plan.load import load_plan
from vendor_side import running_site
from workload import FORMATS, build_series, simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workload import Format

_PLAN: Final = Path(__file__).resolve().parents[1] / "plans" / "code-intelligence.yaml"
_EVENTS: Final = 30_000
_MOST_ROWS: Final = 25
_STEPS: Final = {
    "inflate": "heliograph.gateway.bodies.inflate",
    "look at Arrow's messages": "heliograph.gateway.arrow_messages.refuse_hidden_content",
    "read Arrow, and validate": "heliograph.gateway.bodies.read_arrow",
    "hold columns to the plan": "heliograph.plan.columns.ColumnChecker.check",
    "compare with what would be written": "heliograph.plan.buffers.WrittenForm.is_of",
    "look at lines": "heliograph.gateway.line_looks.LineLook.faultless",
    "decode lines, and hold them to the plan": "heliograph.plan.lines.LineChecker.decode_all",
    "write lines": "heliograph.gateway.bodies._write_lines",
    "count lines": "heliograph.gateway.bodies._LineTally.accept",
    "else of the checks": "heliograph.gateway.bodies.BodyChecker.check",
    "sign the receipt": "heliograph.gateway.receipts.ReceiptSigner.sign",
    "hand to the log": "heliograph.gateway.log.Log.append",
    "else of the intake": "heliograph.gateway.intake.Intake.take",
    "else of the application": "heliograph.gateway.app.Gateway.__call__",
}
"""By the name of a step, the function that is it; the first one of this list that a stack holds has the sample."""


def profile(folder: Path, kind: Format, seconds: float) -> Counter[tuple[str, ...]]:
    """Deliver one format for `seconds`, and return how often each stack was seen."""
    plan = load_plan(_PLAN)
    series = build_series(plan, simulate(plan, min(_EVENTS, kind.batch_events * 6)), kind, folder / "ids")
    counts = folder / "stacks"
    with running_site(folder / "site", _PLAN, program=("sampled", str(counts))) as site:
        with Generators(Load.of(site.instance, series)) as generators:
            before = _read(counts)  # a start is no load
            time.sleep(seconds)
            generators.stop()
        after = _read(counts)
    return after - before


def _read(counts: Path) -> Counter[tuple[str, ...]]:
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in counts.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        stacks[tuple(stack.split(";"))] += int(count)
    return stacks


def by_step(stacks: Counter[tuple[str, ...]]) -> Counter[str]:
    """Return the samples of each step; those outside of all are the server's: TLS, HTTP, the event loop."""
    steps: Counter[str] = Counter()
    for stack, count in stacks.items():
        steps[next((name for name, place in _STEPS.items() if place in stack), "server: TLS, HTTP, event loop")] += (
            count
        )
    return steps


def by_function(stacks: Counter[tuple[str, ...]]) -> Counter[str]:
    """Return the samples that ended in each function."""
    functions: Counter[str] = Counter()
    for stack, count in stacks.items():
        functions[stack[-1]] += count
    return functions


def print_counts(console: Console, title: str, counts: Counter[str]) -> None:
    """Print what has most samples, and the share of each."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("share", justify="right", no_wrap=True)
    for name, count in counts.most_common(_MOST_ROWS):
        table.add_row(name, f"{count / max(counts.total(), 1):.1%}")
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Sample and print."""
    parser = argparse.ArgumentParser(prog="gateway_profile.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of load for each format (default: 10)")
    parser.add_argument("--folder", type=Path, default=Path(), help="where to write (default: here)")
    options = parser.parse_args(arguments)
    console = Console()
    for kind in FORMATS[:2]:
        with tempfile.TemporaryDirectory(prefix=".heliograph-profile-", dir=options.folder) as folder:
            stacks = profile(Path(folder), kind, options.seconds)
        print_counts(console, f"{kind.name}: {stacks.total():,} samples, by step", by_step(stacks))
        print_counts(console, f"{kind.name}: by function", by_function(stacks))
    return 0


if __name__ == "__main__":
    sys.exit(main())
