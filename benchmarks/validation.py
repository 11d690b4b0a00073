"""What validation costs: bodies only decoded, held to the plan, and looked at by the second wall as well.

All variants take turns at each body, forwards and backwards, so that whatever else the machine does falls on each of
them. A body's time is the least processor time of all rounds; a figure is the ratio of two sums of such times.

Run it by ``make benchmark-validation``; ``ARGS`` passes options on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unittest import mock

import msgspec
from msgspec import defstruct
from rich.console import Console
from rich.table import Table

from heliograph.event import ENVELOPE
from heliograph.gateway.bodies import BodyChecker, inflate, read_arrow
from heliograph.gateway.machine_code import gateway_code, line_code
from heliograph.instance.batch import BatchBuilder
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.state import State
from heliograph.plan import line_types as line_types_module
from heliograph.plan import lines as lines_module
from heliograph.plan.columns import ColumnChecker
from heliograph.plan.lines import LineChecker
from heliograph.plan.load import load_plan
from heliograph.plan.model import BooleanProperty, MemberProperty, NumberProperty
from heliograph.plan.sensitive.wall import SecondWall
from workload import FORMATS, build_series, recorded_lines, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from heliograph.plan.model import Plan
    from workload import Series

_PLAN: Final = Path(__file__).resolve().parents[1] / "plans" / "code-intelligence.yaml"
_MOST: Final = 1 << 28
_US: Final = 1e6


class Variant(NamedTuple):
    """One way to go through a body."""

    name: str
    run: Callable[[Any], object]
    has_wall: bool = True


class Line(NamedTuple):
    """What was measured of one format, or of the exporter."""

    name: str
    variants: list[str]
    microseconds: list[float]
    """Of processor time an event, by variant."""


@contextmanager
def without_wall() -> Iterator[None]:
    """Take the second wall away inside the block."""
    with (
        mock.patch.object(SecondWall, "faulty_rows", return_value=()),
        mock.patch.object(lines_module, "derived_ids", return_value=()),
        mock.patch.object(line_types_module, "is_no_version", return_value=False),
    ):
        yield


def measure(name: str, variants: Sequence[Variant], bodies: Sequence[Any], events: int, rounds: int) -> Line:
    """Let all variants take turns at each body, `rounds` times after one that is not counted."""
    least = [[float("inf")] * len(bodies) for _ in variants]
    for number in range(rounds + 1):
        for place, body in enumerate(bodies):
            for which in range(len(variants))[:: -1 if number % 2 else 1]:
                variant = variants[which]
                with nullcontext() if variant.has_wall else without_wall():
                    start = time.process_time()
                    variant.run(body)
                    taken = time.process_time() - start
                if number:
                    least[which][place] = min(least[which][place], taken)
    return Line(name, [variant.name for variant in variants], [sum(times) / events * _US for times in least])


def body_variants(plan: Plan, series: Series) -> list[Variant]:
    """Return the ways to go through bodies of one format at the vendor's side."""
    latest = datetime.now(UTC) + timedelta(minutes=15)
    never = gateway_code(pays_after=sys.maxsize), line_code(pays_after=sys.maxsize)
    slow, quick = BodyChecker(plan, *never), BodyChecker(plan, gateway_code().ready(), line_code().ready())
    columns, lines = ColumnChecker(plan), LineChecker(plan)
    encoding, content_type = series.format.encoding, series.format.content_type
    arrow = "arrow" in content_type
    plain = msgspec.json.Decoder(plain_types(plan))
    microseconds = int(latest.timestamp() * 1_000_000)

    def decode(body: bytes) -> None:
        content = inflate(body, encoding, _MOST)
        if arrow:
            read_arrow(content)
        else:
            for piece in slices(content):
                plain.decode_lines(piece)

    def check(body: bytes) -> None:
        content = inflate(body, encoding, _MOST)
        if arrow:
            assert not columns.check(read_arrow(content), latest=microseconds).codes.any()
        else:
            for piece in slices(content):
                assert lines.decode_all(piece, latest=latest) is not None

    def take(checker: BodyChecker, body: bytes) -> None:
        assert not checker.check(body, encoding, content_type, most=_MOST, latest=latest).rejected

    return [
        Variant("decoded", decode),
        Variant("held to the plan", check, has_wall=False),
        Variant("held to the plan, past the second wall", check),
        Variant("taken in whole, without the second wall", partial(take, slow), has_wall=False),
        Variant("taken in whole", partial(take, slow)),
        Variant("taken in whole, after a quick look", partial(take, quick)),
    ]


def slices(content: bytes) -> Iterator[bytes]:
    """Yield pieces of whole lines, as large as the gateway takes them."""
    start, size = 0, 192 << 10
    while start < len(content):
        end = content.rfind(b"\n", start, start + size) + 1
        if end == 0 or len(content) - start <= size:
            end = len(content)
        yield content[start:end]
        start = end


def plain_types(plan: Plan) -> Any:
    """Return types of the plan's events that any values of the right kind pass: decoding without a check."""
    union: Any = None
    for name, event in plan.events.items():
        fields: list[Any] = [(field, Any, None) for field in ENVELOPE if field not in ("name", "time")]
        fields.append(("time", datetime | None, None))
        for key, kind in event.properties.items():
            plain: Any = int
            if isinstance(kind, MemberProperty):
                plain = str
            elif isinstance(kind, BooleanProperty):
                plain = bool
            elif isinstance(kind, NumberProperty):
                plain = float
            fields.append((key, plain | None, None))
        one = defstruct(name, fields, tag_field="name", tag=name, gc=False, kw_only=True)
        union = one if union is None else union | one
    return union


def exporter_variants(plan: Plan, state: State) -> list[Variant]:
    """Return the ways to build batches of what an outbox holds; all users are known already."""
    latest = datetime.now(UTC) + timedelta(minutes=15)
    builder = BatchBuilder(plan, Pseudonyms(state))

    def build(lines: Sequence[bytes]) -> None:
        assert not builder.build(lines, numbers=len(lines), latest=latest).absent

    return [
        Variant("built, held to the plan", build, has_wall=False),
        Variant("built, held to the plan, past the second wall", build),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="validation.py", description="What validation costs, beside decoding alone.")
    parser.add_argument("--events", type=int, default=30_000, help="events of each format (default: 30000)")
    parser.add_argument("--rounds", type=int, default=15, help="turns that each variant takes (default: 15)")
    options = parser.parse_args(arguments)
    plan = load_plan(_PLAN)
    events = simulate(plan, options.events)
    measured = []
    with tempfile.TemporaryDirectory(prefix="heliograph-validation-") as folder:
        for number, kind in enumerate(FORMATS[:2]):
            series = build_series(plan, events, kind, Path(folder, f"ids-{number}"))
            count = series.batch_events * len(series.bodies)
            measured.append(measure(kind.name, body_variants(plan, series), series.bodies, count, options.rounds))
        state = State(Path(folder, "exporter"))
        batches = recorded_lines(plan, events, FORMATS[0].batch_events)
        variants = exporter_variants(plan, state)
        measured.append(measure("Exporter", variants, batches, sum(map(len, batches)), options.rounds))
        state.close()
    print_lines(Console(), measured)
    return 0


def print_lines(console: Console, measured: Sequence[Line]) -> None:
    """Print each variant's time, beside the first one's and the one's before it."""
    for line in measured:
        table = Table(title=line.name, title_justify="left")
        for heading in ("", "µs an event", "to the first", "to the one before"):
            table.add_column(heading, justify="left" if heading == "" else "right", no_wrap=True)
        before = line.microseconds[0]
        for name, taken in zip(line.variants, line.microseconds, strict=True):
            table.add_row(name, f"{taken:.3f}", f"{taken / line.microseconds[0]:.2f}", f"{taken / before:.3f}")
            before = taken
        console.print(table)


if __name__ == "__main__":
    sys.exit(main())
